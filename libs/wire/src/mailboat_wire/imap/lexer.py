"""The tokens of a framed IMAP command, read left to right.

RFC 9051 section 9: atom, astring, string, nstring, number, flag, date, date-time, sequence-set, list-mailbox.

Every method either consumes exactly its token or raises BadCommand with the command's tag and a short public text.
"""

from __future__ import annotations

import datetime as dt
import re

from mailboat_wire.imap import names
from mailboat_wire.imap.events import AppendFrame, BadCommand, Frame
from mailboat_wire.imap.flags import canonical_flags
from mailboat_wire.imap.sequence import MAX_NUMBER, SequenceSet
from mailboat_wire.imap.types.search import PartialRange

MAX_MODSEQ = 2**63 - 1

ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_LIST_MAILBOX = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_QUOTED = re.compile(rb'"([^"\\\r\n\x00\x80-\xff]*(?:\\["\\][^"\\\r\n\x00\x80-\xff]*)*)"')
_QUOTED_UTF8 = re.compile(rb'"([^"\\\r\n\x00]*(?:\\["\\][^"\\\r\n\x00]*)*)"')
_ESCAPED = re.compile(rb"\\(.)")
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_FLAG_LIST = re.compile(
    rb"\(((?:\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+(?: \\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+)*)?)\)"
)
_NUMBER = re.compile(rb"[0-9]{1,20}")
_SEQUENCE = re.compile(rb"[0-9*:,]+|\$")
_PARTIAL_RANGE = re.compile(rb"(-?[1-9][0-9]{0,9}):(-?[1-9][0-9]{0,9})")
_WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.\-]*")
_HEADER_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+")
_MONTHS = {
    month: number
    for number, month in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), start=1
    )
}
_DATE = re.compile(rb'("?)([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\1')
_DATE_TIME = re.compile(
    rb'"([ 0-9]?[0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)


class Lexer:
    """A cursor over a frame's texts and literals."""

    __slots__ = ("frame", "index", "pos", "tag", "text", "utf8")

    def __init__(self, frame: Frame | AppendFrame, pos: int, *, utf8: bool) -> None:
        self.frame = frame
        self.tag = frame.tag
        self.utf8 = utf8
        self.index = 0
        self.text = frame.texts[0]
        self.pos = pos

    def bad(self, text: bytes) -> BadCommand:
        """The error to raise."""
        return BadCommand(self.tag, text)

    # --- punctuation ---

    @property
    def at_end(self) -> bool:
        return self.pos == len(self.text) and self.index + 1 == len(self.frame.texts)

    @property
    def at_literal(self) -> bool:
        return self.pos == len(self.text) and self.index < len(self.frame.literals)

    def end(self) -> None:
        """Nothing may follow."""
        if self.pos != len(self.text) or self.index < len(self.frame.literals):
            raise self.bad(b"Unexpected argument")

    def peek(self, token: bytes) -> bool:
        return self.text.startswith(token, self.pos)

    def skip(self, token: bytes) -> bool:
        """Consume `token` if it is next."""
        if self.text.startswith(token, self.pos):
            self.pos += len(token)
            return True
        return False

    def expect(self, token: bytes) -> None:
        if not self.text.startswith(token, self.pos):
            raise self.bad(b"Missing argument" if token == b" " else b"Expected " + token)
        self.pos += len(token)

    def space(self) -> None:
        self.expect(b" ")

    def match(self, pattern: re.Pattern[bytes], what: bytes) -> bytes:
        found = pattern.match(self.text, self.pos)
        if found is None:
            raise self.bad(b"Expected " + what)
        self.pos = found.end()
        return found[0]

    # --- strings ---

    def atom(self) -> bytes:
        return self.match(ATOM, b"an atom")

    def word(self) -> bytes:
        """A keyword of the protocol, in upper case."""
        return self.match(_WORD, b"a keyword").upper()

    def _literal(self) -> bytes:
        literal = self.frame.literals[self.index]
        self.index += 1
        self.text = self.frame.texts[self.index]
        self.pos = 0
        if not literal.binary and b"\0" in literal.data:
            raise self.bad(b"NUL in a literal")
        return literal.data

    def string(self) -> bytes:
        """quoted or literal."""
        found = (_QUOTED_UTF8 if self.utf8 else _QUOTED).match(self.text, self.pos)
        if found is not None:
            self.pos = found.end()
            value = found[1]
            return _ESCAPED.sub(rb"\1", value) if b"\\" in value else value
        if self.at_literal:
            return self._literal()
        raise self.bad(b"Expected a string")

    def astring(self) -> bytes:
        found = _ASTRING.match(self.text, self.pos)
        if found is None:
            return self.string()
        self.pos = found.end()
        return found[0]

    def header_name(self) -> bytes:
        """header-fld-name: an astring that is a field name of RFC 5322."""
        name = self.astring()
        if _HEADER_NAME.fullmatch(name) is None:
            raise self.bad(b"Invalid header field name")
        return name

    def nstring(self) -> bytes | None:
        if self.text[self.pos : self.pos + 3].upper() == b"NIL":
            self.pos += 3
            return None
        return self.string()

    def mailbox(self) -> str:
        raw = self.astring()
        name = self._name(raw)
        if not name:
            raise self.bad(b"Empty mailbox name")
        return names.normalise_inbox(name)

    def reference(self) -> str:
        """A mailbox name that may be empty: LIST's first argument."""
        return self._name(self.astring())

    def list_mailbox(self) -> str:
        """A LIST pattern; its wildcards are `%` and `*`."""
        found = _LIST_MAILBOX.match(self.text, self.pos)
        if found is None:
            return self._name(self.string())
        self.pos = found.end()
        return self._name(found[0])

    def _name(self, raw: bytes) -> str:
        try:
            return names.decode_text(raw, utf8=self.utf8)
        except ValueError:
            raise BadCommand(self.tag, b"Invalid mailbox name", status=b"NO", code=b"CANNOT") from None

    # --- numbers and sets ---

    def number(self, low: int = 0, high: int = 0xFFFFFFFF) -> int:
        value = int(self.match(_NUMBER, b"a number"))
        if not low <= value <= high:
            raise self.bad(b"Number out of range")
        return value

    def modseq(self, low: int) -> int:
        return self.number(low, MAX_MODSEQ)

    def at_sequence(self) -> bool:
        return _SEQUENCE.match(self.text, self.pos) is not None

    def sequence(self) -> SequenceSet:
        try:
            return SequenceSet.parse(self.match(_SEQUENCE, b"a message set"))
        except ValueError:
            raise self.bad(b"Invalid message set") from None

    def static_set(self) -> SequenceSet:
        """A set without `*` and `$` (known-uids and its like in RFC 7162)."""
        found = self.sequence()
        if found.saved or found.has_star:
            raise self.bad(b"Invalid message set")
        return found

    def partial_range(self) -> PartialRange:
        """partial-range of RFC 9394: both ends counted from the first result, or both from the last."""
        found = _PARTIAL_RANGE.match(self.text, self.pos)
        if found is None:
            raise self.bad(b"Invalid range of results")
        self.pos = found.end()
        first, last = int(found[1]), int(found[2])
        if max(abs(first), abs(last)) > MAX_NUMBER or (first < 0) != (last < 0):
            raise self.bad(b"Invalid range of results")
        return PartialRange(first, last)

    # --- flags and dates ---

    def flag_list(self) -> tuple[bytes, ...]:
        """`(\\Seen $Work)`, possibly empty; canonical."""
        inner = self.match(_FLAG_LIST, b"a flag list")[1:-1]
        return canonical_flags(inner.split(b" ")) if inner else ()

    def bare_flags(self) -> tuple[bytes, ...]:
        """One or more flags without parentheses (STORE allows it)."""
        flags = [self.match(_FLAG, b"a flag")]
        while self.skip(b" "):
            flags.append(self.match(_FLAG, b"a flag"))
        return canonical_flags(flags)

    def date(self) -> dt.date:
        found = _DATE.match(self.text, self.pos)
        if found is None:
            raise self.bad(b"Expected a date")
        self.pos = found.end()
        try:
            return dt.date(int(found[4]), _MONTHS[found[3].lower()], int(found[2]))
        except (ValueError, KeyError):
            raise self.bad(b"Invalid date") from None

    def date_time(self) -> dt.datetime:
        """A quoted date-time, in UTC."""
        found = _DATE_TIME.match(self.text, self.pos)
        if found is None:
            raise self.bad(b"Expected a date-time")
        self.pos = found.end()
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
        offset = int(zone_hours) * 60 + int(zone_minutes)
        try:
            local = dt.datetime(
                int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), int(second), tzinfo=dt.UTC
            )
            if int(zone_minutes) > 59:
                raise self.bad(b"Invalid date-time")
            return local + dt.timedelta(minutes=offset if sign == b"-" else -offset)
        except (ValueError, KeyError, OverflowError):
            raise self.bad(b"Invalid date-time") from None
