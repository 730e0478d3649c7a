"""The MIME tree of a message as byte offsets, and its compact form for the store.

A `Part` says where a part's header and body are in the message and what kind it is: all that FETCH of a section,
BINARY and text search need. What only BODYSTRUCTURE shows is read from the part's header when it is rendered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

_VERSION = 1
_MAX_DEPTH = 255
# Strings that cost one byte in the compact form. Append only: the position is stored.
_COMMON = (
    b"", b"text", b"plain", b"html", b"multipart", b"mixed", b"alternative", b"related", b"signed", b"report",
    b"message", b"rfc822", b"application", b"octet-stream", b"pdf", b"image", b"png", b"jpeg", b"gif", b"calendar",
    b"7bit", b"8bit", b"base64", b"quoted-printable", b"binary", b"utf-8", b"UTF-8", b"us-ascii", b"US-ASCII",
    b"iso-8859-1", b"ISO-8859-1", b"windows-1252", b"delivery-status", b"pgp-signature", b"pkcs7-signature", b"zip",
)  # fmt: skip
_CODE = {text: code for code, text in enumerate(_COMMON)}


class Kind(IntEnum):
    """What a part contains. The numbers are stored."""

    LEAF = 0
    MULTIPART = 1
    MESSAGE = 2  # message/rfc822: the one child is the embedded message


@dataclass(frozen=True, slots=True)
class Part:
    """A message or body part: offsets into the message it was scanned from.

    [header_start, body_start) is the header with its blank line, [body_start, body_end) the body; a child lies inside
    its parent's body. `type`, `subtype` and `encoding` are as sent, with the defaults of RFC 2045 where a field is
    absent. `flattened`: a multipart or message that is shown as a leaf (no boundary, too deep or too many parts).
    Names are cut at 127 octets, encoding and charset at 63: the compact form of 1,000 parts stays under 512 KB.
    `lines`: LFs in the body, for text and message parts, else 0. `charset`: of text parts, as sent, else empty.
    """

    header_start: int
    body_start: int
    body_end: int
    kind: Kind
    type: bytes
    subtype: bytes
    encoding: bytes
    charset: bytes
    lines: int
    flattened: bool
    children: tuple["Part", ...]

    @property
    def size(self) -> int:
        """Octets of the body."""
        return self.body_end - self.body_start

    @property
    def message(self) -> "Part | None":
        """The embedded message of a message/rfc822 part."""
        return self.children[0] if self.kind is Kind.MESSAGE else None

    @property
    def is_text(self) -> bool:
        """Whether this is a text part (a leaf)."""
        return self.type.lower() == b"text"

    def walk(self) -> Iterator["Part"]:
        """This part and all below it, in message order."""
        stack = [self]
        while stack:
            part = stack.pop()
            yield part
            stack.extend(reversed(part.children))

    def to_bytes(self) -> bytes:
        """The compact form: a version byte, then the parts in message order."""
        out = bytearray((_VERSION,))
        _write(out, self, 0)
        return bytes(out)

    @staticmethod
    def from_bytes(data: bytes) -> "Part":
        """The tree that `to_bytes` wrote. Raises ValueError if it did not write this."""
        if not data or data[0] != _VERSION:
            raise ValueError("not a MIME tree of a known version")
        try:
            part, end = _read(data, 1, 0, 0)
        except IndexError as short:
            raise ValueError("the MIME tree is cut short") from short
        if end != len(data):
            raise ValueError("bytes after the MIME tree")
        return part


def large_parts(part: Part, threshold: int = 65536) -> list[tuple[int, int]]:
    """(start, end) of each leaf body over `threshold` octets, in message order: what is worth a segment of its own."""
    return [(p.body_start, p.body_end) for p in part.walk() if p.kind is Kind.LEAF and p.size > threshold]


def _write(out: bytearray, part: Part, base: int) -> None:
    out.append(part.kind | part.flattened << 2)
    _put_number(out, part.header_start - base)
    _put_number(out, part.body_start - part.header_start)
    _put_number(out, part.body_end - part.body_start)
    _put_number(out, part.lines)
    for text in (part.type, part.subtype, part.encoding, part.charset):
        code = _CODE.get(text)
        if code is not None:
            out.append(code)
        else:
            out.append(255)
            _put_number(out, len(text))
            out += text
    if part.kind is not Kind.LEAF:
        _put_number(out, len(part.children))
        for child in part.children:
            _write(out, child, part.body_start)


def _put_number(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _number(data: bytes, pos: int) -> tuple[int, int]:
    byte = data[pos]
    if byte < 128:
        return byte, pos + 1
    number, shift = byte & 127, 7
    while True:
        pos += 1
        byte = data[pos]
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, pos + 1
        if shift > 63:
            raise ValueError("a number of the MIME tree is too long")


def _text(data: bytes, pos: int) -> tuple[bytes, int]:
    code = data[pos]
    if code < len(_COMMON):
        return _COMMON[code], pos + 1
    if code != 255:
        raise ValueError("unknown string code in the MIME tree")
    size, pos = _number(data, pos + 1)
    if pos + size > len(data):
        raise ValueError("the MIME tree is cut short")
    return data[pos : pos + size], pos + size


def _read(data: bytes, pos: int, base: int, depth: int) -> tuple[Part, int]:
    flags = data[pos]
    if flags > 6 or depth > _MAX_DEPTH:
        raise ValueError("unknown kind of part in the MIME tree, or too deep")
    kind = Kind(flags & 3)
    start, pos = _number(data, pos + 1)
    header, pos = _number(data, pos)
    body, pos = _number(data, pos)
    lines, pos = _number(data, pos)
    main, pos = _text(data, pos)
    sub, pos = _text(data, pos)
    encoding, pos = _text(data, pos)
    charset, pos = _text(data, pos)
    start += base
    children: list[Part] = []
    if kind is not Kind.LEAF:
        count, pos = _number(data, pos)
        for _ in range(count):
            child, pos = _read(data, pos, start + header, depth + 1)
            children.append(child)
        if kind is Kind.MESSAGE and count != 1:
            raise ValueError("a message part without its message")
    body_start = start + header
    return (
        Part(
            start,
            body_start,
            body_start + body,
            kind,
            main,
            sub,
            encoding,
            charset,
            lines,
            bool(flags & 4),
            tuple(children),
        ),
        pos,
    )
