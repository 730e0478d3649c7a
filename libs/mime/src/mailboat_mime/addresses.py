"""Address lists of header fields (RFC 5322 3.4 with the obsolete syntax of 4.4), as ENVELOPE shows them.

The parser never fails: each run of text between commas becomes an address. What is missing is named as Dovecot names
it, because a NIL host would say "group" (RFC 3501 7.4.2). Every byte is consumed once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MISSING_MAILBOX = b"MISSING_MAILBOX"
MISSING_DOMAIN = b"MISSING_DOMAIN"

_ATEXT = rb"[^\x00-\x20()<>@,;:\\\"\[\].\x7f]"
_DOT_ATOM = _ATEXT + rb"+(?:\." + _ATEXT + rb"+)*"
# The two shapes nearly all addresses have, with the comma or end that shows nothing follows.
_PLAIN = re.compile(
    rb"[ \t]*(?:(?:\"([^\"\\]*)\"|(" + _ATEXT + rb"+(?:[ ]" + _ATEXT + rb"+)*))?[ \t]*"
    rb"<(" + _DOT_ATOM + rb")@(" + _DOT_ATOM + rb")>"
    rb"|(" + _DOT_ATOM + rb")@(" + _DOT_ATOM + rb"))[ \t]*(?:,|\Z)"
)
_TOKEN = re.compile(
    rb"[ \t\r\n]+|\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)(?:\"|\\?\Z)|\[[^\[\]<>,;]*\]|[^ \t\r\n\"(),:;<>@\[]+|.", re.DOTALL
)
_COMMENT = re.compile(rb"[^()\\]+|\\.|.", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a list, in the four members of RFC 3501's ENVELOPE.

    A group begins with an address that has only a mailbox (the group's name) and ends with one that has nothing.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


_MAX_ADDRESSES = 10_000  # of one field; more than fit into any ENVELOPE
_MAX_TOKENS = 1_000  # of one address; the rest up to a comma is passed over

GROUP_END = Address(None, None, None, None)
_SPACE = bytes(bytearray(b" "))  # an object of its own: a separator is told from a quoted space by identity


def parse_addresses(value: bytes) -> Iterator[Address]:
    """The addresses of an unfolded field value, in order; bytes as sent, quoting removed, encoded words left alone."""
    pos, end, in_group = 0, len(value), False
    for _ in range(_MAX_ADDRESSES):
        if pos >= end:
            break
        plain = _PLAIN.match(value, pos)
        if plain is not None:
            quoted, words, mailbox, host, bare, bare_host = plain.groups()
            pos = plain.end()
            yield Address(quoted or words or None, None, mailbox or bare, host or bare_host)
            continue
        reader = _Reader(value, pos)
        stop = reader.read()
        pos = reader.pos
        if stop == b":" and not in_group:
            in_group = True
            yield Address(None, None, b"".join(reader.words), None)
            continue
        address = reader.address()
        if address is not None:
            yield address
        if stop == b";" and in_group:
            in_group = False
            yield GROUP_END
    if in_group:
        yield GROUP_END


class _Reader:
    """Reads one address from `pos` to the comma, semicolon or group colon that ends it."""

    def __init__(self, value: bytes, pos: int) -> None:
        self.value = value
        self.pos = pos
        self.words: list[bytes] = []  # the phrase with its spaces, or the local part of an address without brackets
        self.local: list[bytes] = []
        self.domain: list[bytes] = []
        self.route: bytes | None = None
        self.comment: bytes | None = None
        self.angle = False
        self.at = False
        self.spaced = True

    def read(self) -> bytes:
        """Consume up to the end of the address; the delimiter, empty at the end of the value."""
        inside = False
        for _ in range(_MAX_TOKENS):
            match = _TOKEN.match(self.value, self.pos)
            if match is None:
                return b""
            token = match.group()
            self.pos = match.end()
            first = token[:1]
            if first in b" \t\r\n":
                self.spaced = True
            elif first == b"(":
                self._comment()
            elif first == b"<" and not inside:
                inside = self.angle = True
                self._route()
                self.at = False
                self.domain = []
            elif first == b">":
                inside = False
            elif first == b"@":
                self._at(inside)
            elif not inside and (first in b",;" or (first == b":" and not self.at and not self.angle)):
                return first
            else:
                self._text(match, inside)
        self._pass_over()
        return b""

    def _pass_over(self) -> None:
        comma = self.value.find(b",", self.pos)
        self.pos = comma + 1 if comma >= 0 else len(self.value)

    def _at(self, inside: bool) -> None:
        if not self.at and (inside or not self.angle):
            self.at = True
            if not inside:
                self.local = [word for word in self.words if word is not _SPACE]
        elif inside or not self.angle:
            self.domain.append(b"@")

    def _text(self, match: re.Match[bytes], inside: bool) -> None:
        quoted = match.group(1)
        text = match.group() if quoted is None else _ESCAPE.sub(rb"\1", quoted)
        if self.at and (inside or not self.angle):
            self.domain.append(text)
        elif inside:
            self.local.append(text)
        elif not self.angle:
            self._word(text, quoted is not None)

    def _word(self, text: bytes, quoted: bool) -> None:
        if self.words and (self.spaced or quoted):
            self.words.append(_SPACE)
        self.words.append(text)
        self.spaced = quoted

    def _comment(self) -> None:
        depth, out = 1, []
        for _ in range(_MAX_TOKENS):
            match = _COMMENT.match(self.value, self.pos)
            if match is None:
                break
            token = match.group()
            self.pos = match.end()
            depth += 1 if token == b"(" else -1 if token == b")" else 0
            if not depth:
                break
            out.append(token[1:] if token[:1] == b"\\" else token)
        else:
            self._pass_over()
        self.spaced = True
        text = b"".join(out).strip()
        if text:
            self.comment = text

    def _route(self) -> None:
        """The obsolete source route "@a,@b:" at the start of an angle address, if it is one."""
        colon = self.value.find(b":", self.pos, min(self.pos + 1024, len(self.value)))
        if colon < 0 or not self.value.startswith(b"@", self.pos):
            return
        route = self.value[self.pos : colon]
        if b">" not in route and b'"' not in route:
            self.route = bytes(route.translate(None, b" \t"))
            self.pos = colon + 1

    def address(self) -> Address | None:
        """What was read as an address, or None if there was nothing between the commas."""
        if not self.angle and not self.at:
            if not self.words:
                return None
            return Address(self.comment, None, b"".join(self.words) or MISSING_MAILBOX, MISSING_DOMAIN)
        name = self.comment
        if self.angle and self.words:
            name = b"".join(self.words) or None
        mailbox = b"".join(self.local) or MISSING_MAILBOX
        return Address(name, self.route, mailbox, b"".join(self.domain) or MISSING_DOMAIN)
