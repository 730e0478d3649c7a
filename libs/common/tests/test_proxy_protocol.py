"""PROXY protocol headers, whole and byte by byte, and everything that isn't one."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.errors import PeerError
from mailboat_common.proxy_protocol import HeaderReader, Source

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def read(stream: bytes, *, at_most: int = 10_000) -> tuple[Source | None, bytes]:
    """The source and what the reader left unread."""
    reader = HeaderReader()
    position = 0
    while reader.wanted:
        piece = stream[position : position + min(reader.wanted, at_most)]
        position += len(piece)
        reader.feed(piece)
    return reader.source, stream[position:]


V4 = ip_address("192.0.2.1").packed + ip_address("198.51.100.7").packed + struct.pack("!HH", 40000, 25)
V6 = ip_address("2001:db8::1").packed + ip_address("2001:db8::2").packed + struct.pack("!HH", 40001, 993)

HEADERS = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 25\r\n", Source(ip_address("192.0.2.1"), 40000)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 40001 993\r\n", Source(ip_address("2001:db8::1"), 40001)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 1 2\r\n", Source(ip_address("192.0.2.1"), 1)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (v2(0x21, 0x11, V4), Source(ip_address("192.0.2.1"), 40000)),
    (v2(0x21, 0x21, V6), Source(ip_address("2001:db8::1"), 40001)),
    (v2(0x21, 0x11, V4 + b"\x04\x00\x03abc"), Source(ip_address("192.0.2.1"), 40000)),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, V4), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x31, b"\0" * 216), None),
]


@pytest.mark.parametrize("rest", [b"", b"\x16\x03\x01 a TLS hello", b"EHLO x\r\n"])
@pytest.mark.parametrize(("header", "source"), HEADERS)
def test_header_is_read_and_not_a_byte_more(header: bytes, source: Source | None, rest: bytes) -> None:
    assert read(header + rest) == (source, rest)
    assert read(header + rest, at_most=1) == (source, rest)


@pytest.mark.parametrize(
    "stream",
    [
        b"EHLO client.example\r\n",
        b"PROXY TCP4 192.0.2.1\r\nEHLO x\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 25\nEHLO",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.7 40000 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 70000 25\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 25\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.7 1 25\r\n",
        b"PROXY " + b"A" * 200 + b"\r\n",
        b"PROXY",
        b"",
        SIGNATURE,
        v2(0x31, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x21, 0x11, V4[:8]),
        v2(0x21, 0x21, V6[:20]),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 65535) + b"\0" * 65535,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello without a header",
    ],
)
def test_what_is_no_header_is_the_peers_error(stream: bytes) -> None:
    with pytest.raises(PeerError):
        read(stream)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_only_a_peer_error_escapes(noise: bytes, start: bytes) -> None:
    try:
        read(start + noise)
    except PeerError as error:
        assert not error.public
