"""The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): who the client behind a load balancer is.

Sans-IO. The reader asks for so many bytes that it never takes one that belongs to what follows, so the rest of the
stream, a TLS hello for instance, stays in the socket:

    reader = HeaderReader()
    while reader.wanted:
        reader.feed(recv(reader.wanted))
    reader.source

Rules: a header is at most 107 (v1) or 16 + 4096 (v2) bytes; anything else is a PeerError. `UNKNOWN`, `LOCAL` (the
balancer's own health check) and families other than TCP over IP carry no address: the source is None, the socket's own
address holds.
"""

import struct
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from mailboat_common.errors import PeerError

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1_MAX = 107
_V2_MAX = 4096  # addresses and TLVs; balancers send well under 1 KB


@dataclass(frozen=True, slots=True)
class Source:
    """The client's address as the balancer saw it."""

    address: IPv4Address | IPv6Address
    port: int


class HeaderReader:
    """Reads one header; `wanted` is how many bytes to feed next (at most), 0 when it is complete."""

    def __init__(self) -> None:
        self.wanted = len(_SIGNATURE)  # no valid v1 header is shorter than this
        self.source: Source | None = None
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Takes up to `wanted` bytes. Raises PeerError when this can't be a header (an empty read included)."""
        if not data:
            raise PeerError(private="connection closed within the PROXY header")
        assert len(data) <= self.wanted, "fed more than wanted: bytes behind the header would be lost"
        self._buffer += data
        buffer = self._buffer
        if _SIGNATURE.startswith(buffer[:12]):
            self._feed_v2(buffer)
        elif b"PROXY ".startswith(buffer[:6]):
            self._feed_v1(buffer)
        else:
            raise PeerError(private="no PROXY header")

    def _feed_v1(self, buffer: bytes) -> None:
        if len(buffer) < len(_SIGNATURE):
            self.wanted = len(_SIGNATURE) - len(buffer)
        elif buffer.endswith(b"\r\n"):
            self.wanted = 0
            self.source = _parse_v1(buffer[:-2])
        elif len(buffer) >= _V1_MAX or b"\n" in buffer:
            raise PeerError(private="PROXY v1 line too long or not ended by CRLF")
        else:
            self.wanted = 1

    def _feed_v2(self, buffer: bytes) -> None:
        if len(buffer) < 16:
            self.wanted = (12 if len(buffer) < 12 else 16) - len(buffer)
            return
        version_command, family, length = struct.unpack_from("!BBH", buffer, 12)
        if length > _V2_MAX:
            raise PeerError(private=f"PROXY v2 header of {length} bytes")
        self.wanted = 16 + length - len(buffer)
        if not self.wanted:
            self.source = _parse_v2(version_command, family, buffer[16:])


def _parse_v1(line: bytes) -> Source | None:
    fields = line.decode("latin-1").split(" ")
    if fields[1] == "UNKNOWN":
        return None
    if len(fields) != 6 or fields[1] not in ("TCP4", "TCP6"):
        raise PeerError(private="malformed PROXY v1 line")
    family = IPv4Address if fields[1] == "TCP4" else IPv6Address
    try:
        address = family(fields[2])
        family(fields[3])
    except AddressValueError:
        raise PeerError(private="malformed address in PROXY v1 line") from None
    return Source(_unmapped(address), _port(fields[4]))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise PeerError(private="malformed port in PROXY v1 line")
    return int(text)


def _parse_v2(version_command: int, family: int, body: bytes) -> Source | None:
    if version_command not in (0x20, 0x21):
        raise PeerError(private=f"PROXY version and command {version_command:#x}")
    if version_command == 0x20:  # LOCAL
        return None
    if family == 0x11 and len(body) >= 12:
        return Source(IPv4Address(body[:4]), int.from_bytes(body[8:10], "big"))
    if family == 0x21 and len(body) >= 36:
        return Source(_unmapped(IPv6Address(body[:16])), int.from_bytes(body[32:34], "big"))
    if family in (0x11, 0x21):
        raise PeerError(private="PROXY v2 header too short for its addresses")
    return None


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
