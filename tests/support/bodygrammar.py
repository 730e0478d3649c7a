"""A strict reader of what FETCH says of a message: `envelope` and `body` of RFC 9051 section 9 (and RFC 3501's).

    structure(b'("text" "plain" NIL NIL NIL "7bit" 0 0)')   # Shown, or GrammarError
    envelope(b"(NIL ... NIL)")                               # ten members, or GrammarError

It allows what the grammar allows and nothing else: no space too many, no NIL where a string must stand, no empty list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_QUOTED = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(0|[1-9][0-9]*)\}\r\n")
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,9}")
ADDRESS_LISTS = (2, 3, 4, 5, 6, 7)  # members of an envelope


class GrammarError(AssertionError):
    """The text isn't in the language."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A body as BODYSTRUCTURE or BODY tells of it. `lines`: of text and message parts, else None."""

    type: bytes
    subtype: bytes
    params: tuple[tuple[bytes, bytes], ...] = ()
    encoding: bytes = b""
    size: int = 0
    lines: int | None = None
    parts: tuple[Shown, ...] = ()
    message: Shown | None = None
    envelope: tuple[object, ...] | None = None
    extended: bool = False

    def sections(self, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Shown]]:
        """(part numbers, part) of every part that FETCH BODY[...] can name."""
        if not self.parts:
            path = path or (1,)
            yield path, self
        elif path:
            yield path, self
        for number, part in enumerate(self.parts, 1):
            yield from part.sections((*path, number))
        if self.message is not None:
            inner = self.message
            if inner.parts:
                for number, part in enumerate(inner.parts, 1):
                    yield from part.sections((*path, number))
            else:
                yield from inner.sections((*path, 1))


def structure(text: bytes) -> Shown:
    """The whole text as one body."""
    reader = _Reader(text)
    found = reader.body()
    reader.end()
    return found


def envelope(text: bytes) -> tuple[object, ...]:
    """The whole text as one envelope: strings, None, and lists of addresses (of four members)."""
    reader = _Reader(text)
    found = reader.envelope()
    reader.end()
    return found


class _Reader:
    def __init__(self, text: bytes) -> None:
        self.text = text
        self.pos = 0

    def fail(self, wanted: str) -> GrammarError:
        return GrammarError(f"{wanted} expected at {self.pos}: {self.text[self.pos : self.pos + 60]!r}")

    def end(self) -> None:
        if self.pos != len(self.text):
            raise self.fail("the end")

    def peek(self, token: bytes) -> bool:
        return self.text.startswith(token, self.pos)

    def skip(self, token: bytes) -> bool:
        if self.peek(token):
            self.pos += len(token)
            return True
        return False

    def expect(self, token: bytes) -> None:
        if not self.skip(token):
            raise self.fail(repr(token))

    def string(self) -> bytes:
        if found := _QUOTED.match(self.text, self.pos):
            self.pos = found.end()
            return re.sub(rb"\\(.)", rb"\1", found[1])
        if found := _LITERAL.match(self.text, self.pos):
            size = int(found[1])
            value = self.text[found.end() : found.end() + size]
            if len(value) != size or b"\0" in value:
                raise self.fail("a literal")
            self.pos = found.end() + size
            return value
        raise self.fail("a string")

    def nstring(self) -> bytes | None:
        return None if self.skip(b"NIL") else self.string()

    def number(self) -> int:
        found = _NUMBER.match(self.text, self.pos)
        if found is None or int(found[0]) > 0xFFFFFFFF:
            raise self.fail("a number")
        self.pos = found.end()
        return int(found[0])

    # --- envelope ---

    def envelope(self) -> tuple[object, ...]:
        self.expect(b"(")
        members: list[object] = []
        for index in range(10):
            if index:
                self.expect(b" ")
            members.append(self.addresses() if index in ADDRESS_LISTS else self.nstring())
        self.expect(b")")
        return tuple(members)

    def addresses(self) -> tuple[tuple[bytes | None, ...], ...] | None:
        """1*address without separators, or NIL; groups are opened and closed in turn (7.5.2)."""
        if self.skip(b"NIL"):
            return None
        self.expect(b"(")
        found = [self.address()]
        while not self.skip(b")"):
            found.append(self.address())
        inside = False
        for name, _route, mailbox, host in found:
            if host is None:
                if name is not None or inside == (mailbox is not None):
                    raise self.fail("groups in turn before here")
                inside = mailbox is not None
            elif mailbox is None:
                raise self.fail("a mailbox beside each host before here")
        if inside:
            raise self.fail("the end of a group before here")
        return tuple(found)

    def address(self) -> tuple[bytes | None, ...]:
        self.expect(b"(")
        members = [self.nstring()]
        for _ in range(3):
            self.expect(b" ")
            members.append(self.nstring())
        self.expect(b")")
        return tuple(members)

    # --- body ---

    def body(self) -> Shown:
        self.expect(b"(")
        shown = self.multipart() if self.peek(b"(") else self.single()
        self.expect(b")")
        return shown

    def multipart(self) -> Shown:
        parts = [self.body()]
        while self.peek(b"("):
            parts.append(self.body())
        self.expect(b" ")
        subtype = self.string()
        params: tuple[tuple[bytes, bytes], ...] = ()
        extended = self.peek(b" ")
        if extended:
            self.expect(b" ")
            params = self.params()
            self.common_extension()
        return Shown(b"multipart", subtype, params, parts=tuple(parts), extended=extended)

    def single(self) -> Shown:
        kind = self.string()
        self.expect(b" ")
        subtype = self.string()
        self.expect(b" ")
        params = self.params()
        for _ in range(2):  # id, description
            self.expect(b" ")
            self.nstring()
        self.expect(b" ")
        encoding = self.string()
        self.expect(b" ")
        size = self.number()
        lines, message, shown_envelope = None, None, None
        lowered = kind.lower(), subtype.lower()
        if lowered == (b"message", b"rfc822"):
            self.expect(b" ")
            shown_envelope = self.envelope()
            self.expect(b" ")
            message = self.body()
        if message is not None or lowered[0] == b"text":
            self.expect(b" ")
            lines = self.number()
        extended = self.peek(b" ")
        if extended:
            self.expect(b" ")
            self.nstring()  # MD5
            self.common_extension()
        return Shown(kind, subtype, params, encoding, size, lines, (), message, shown_envelope, extended)

    def params(self) -> tuple[tuple[bytes, bytes], ...]:
        if self.skip(b"NIL"):
            return ()
        self.expect(b"(")
        pairs = []
        while True:
            name = self.string()
            self.expect(b" ")
            pairs.append((name, self.string()))
            if self.skip(b")"):
                return tuple(pairs)
            self.expect(b" ")

    def common_extension(self) -> None:
        """Disposition, language and location: all of them, as we send them."""
        self.expect(b" ")
        if not self.skip(b"NIL"):
            self.expect(b"(")
            self.string()
            self.expect(b" ")
            self.params()
            self.expect(b")")
        self.expect(b" ")
        if self.skip(b"("):
            self.string()
            while self.skip(b" "):
                self.string()
            self.expect(b")")
        else:
            self.nstring()
        self.expect(b" ")
        self.nstring()
