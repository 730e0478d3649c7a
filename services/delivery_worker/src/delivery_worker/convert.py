"""A message made fit for a server without 8BITMIME: bodies in quoted-printable or base64.

RFC 6152 3, RFC 2045 6 (encodings; multiparts and messages take none), RFC 1847 2.1 (what is signed stays as it is).

Rules: text becomes quoted-printable, or base64 if more than a quarter of it is above 127; anything else base64. Only
parts that hold such octets are touched, and of headers only Content-Transfer-Encoding. Octets above 127 in a
preamble, an epilogue or a boundary become "?", as nobody is shown them; those in a header stay, because RFC 6152
doesn't concern headers and every server there is passes them. A DKIM signature over a body that is converted no longer
verifies; receivers treat such a message as an unsigned one.
"""

from __future__ import annotations

from binascii import b2a_base64, b2a_qp

from mailboat_mime import Kind, Part, iter_fields, scan

_LINE = 76
_WIDE = (b"8bit", b"binary")
_FIELD = b"content-transfer-encoding"


def to_seven_bit(message: bytes) -> bytes | None:
    """The message with 7-bit bodies; None if that can't be without breaking what it says.

    It can't where a signature or encryption covers the octets, where a part's own encoding is contradicted by them,
    or where the parts can't be told apart.
    """
    if message.isascii():
        return message
    out: list[bytes] = []
    done = 0
    for part in scan(message).walk():
        header = message[part.header_start : part.body_start]
        body = message[part.body_start : part.body_end]
        out.append(_masked(message[done : part.header_start]))
        if part.kind is not Kind.LEAF:
            if part.subtype.lower() in (b"signed", b"encrypted") and not body.isascii():
                return None
            out.append(_relabelled(header, b"7bit") if part.encoding.lower() in _WIDE else header)
            done = part.body_start
            continue
        done = part.body_end
        if body.isascii():
            out += [header, body]
        elif not _may_encode(part):
            return None
        else:
            encoding, encoded = _encoded(part, body)
            out += [_relabelled(header, encoding), encoded]
    out.append(_masked(message[done:]))
    return b"".join(out)


def headers_are_ascii(message: bytes) -> bool:
    """Whether no header of the message, its parts and embedded messages holds octets above 127."""
    return message.isascii() or all(
        message[part.header_start : part.body_start].isascii() for part in scan(message).walk()
    )


def _may_encode(part: Part) -> bool:
    if part.flattened or part.encoding.lower() not in (b"7bit", *_WIDE):
        return False
    return part.type.lower() not in (b"multipart", b"message")


def _encoded(part: Part, body: bytes) -> tuple[bytes, bytes]:
    wide = len(body) - len(body.translate(None, bytes(range(128, 256))))
    if not part.is_text or wide * 4 > len(body) or b"\0" in body:
        text = b2a_base64(body, newline=False)
        lines = b"\r\n".join(text[start : start + _LINE] for start in range(0, len(text), _LINE))
        return b"base64", lines + (b"\r\n" if body.endswith(b"\r\n") else b"")
    # The library breaks lines as the first one ends; where there is none it would use bare LFs.
    quoted = b2a_qp(body, istext=True).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return b"quoted-printable", quoted


def _relabelled(header: bytes, encoding: bytes) -> bytes:
    """The header with this encoding: in the field that counts, or in a new one at its end."""
    at = 0
    for name, raw, _ in iter_fields(header):
        if name.lower() == _FIELD:
            return header[:at] + name + b": " + encoding + b"\r\n" + header[at + len(raw) :]
        at += len(raw)
    end = len(header) - 2 if header.endswith(b"\r\n") else len(header)
    return header[:end] + b"Content-Transfer-Encoding: " + encoding + b"\r\n" + (header[end:] or b"\r\n")


def _masked(octets: bytes) -> bytes:
    return octets if octets.isascii() else octets.decode("ascii", "replace").replace("\ufffd", "?").encode("ascii")
