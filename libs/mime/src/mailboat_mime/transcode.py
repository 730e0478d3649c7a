"""A message with NUL made storable: parts of binary encoding become base64 (RFC 3516 4.4, RFC 2045 6.2).

Only the parts that hold NUL are touched, and of their headers only the Content-Transfer-Encoding field; every other
octet stays as it is.
"""

from binascii import b2a_base64
from collections.abc import Iterator

from mailboat_mime.headers import iter_fields
from mailboat_mime.part import Kind, Part
from mailboat_mime.scanner import scan

_LINE = 76  # characters of base64 (RFC 2045 6.8)


def without_nul(message: bytes) -> bytes | None:
    """The message with its binary parts in base64 where they hold NUL; None if there is NUL anywhere else.

    Anywhere else: in a header, beside the parts of a multipart, in a part of another encoding, in one that can't be
    told apart (too deep, no boundary), or in what is signed or encrypted (RFC 1847 2.1 forbids to transform that).
    """
    if b"\0" not in message:
        return message
    out: list[bytes] = []
    done = 0
    for part in _transformable(scan(message)):
        if message.find(b"\0", part.body_start, part.body_end) < 0:
            continue
        if message.find(b"\0", done, part.body_start) >= 0:
            return None
        out += message[done : part.header_start], _relabelled(message[part.header_start : part.body_start])
        out += _lines(message[part.body_start : part.body_end])
        done = part.body_end
    if message.find(b"\0", done) >= 0:
        return None
    out.append(message[done:])
    return b"".join(out)


def _transformable(part: Part) -> Iterator[Part]:
    """The binary leaf parts, in message order."""
    stack = [part]
    while stack:
        item = stack.pop()
        if item.kind is Kind.LEAF:
            if item.encoding.lower() == b"binary" and not item.flattened:
                yield item
        elif item.kind is Kind.MESSAGE or item.subtype.lower() not in (b"signed", b"encrypted"):
            stack.extend(reversed(item.children))


def _relabelled(header: bytes) -> bytes:
    """The header with base64 as its encoding: in the first field of that name, which is the one that counts."""
    at = 0
    for name, raw, _ in iter_fields(header):
        if name.lower() == b"content-transfer-encoding":
            end = b"\r\n" if raw.endswith(b"\r\n") else b"\n" if raw.endswith(b"\n") else b""
            return header[:at] + name + b": base64" + end + header[at + len(raw) :]
        at += len(raw)
    raise AssertionError("a part is binary because a field says so")


def _lines(body: bytes) -> Iterator[bytes]:
    """The body in base64, CRLF between its lines; memory is bounded by what comes out."""
    encoded = b2a_base64(body, newline=False)
    for start in range(0, len(encoded), _LINE):
        if start:
            yield b"\r\n"
        yield encoded[start : start + _LINE]
