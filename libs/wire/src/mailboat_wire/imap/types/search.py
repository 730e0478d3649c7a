"""SEARCH: the command and its tree of keys.

RFC 9051 6.4.4; ESEARCH (RFC 4731), SEARCHRES (5182), WITHIN (5032), CONDSTORE (7162), OBJECTID (8474), SAVEDATE (8514),
PARTIAL (9394).
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.sequence import SequenceSet
from mailboat_wire.imap.types.base import Command


class SearchReturn(enum.Flag):
    """RETURN options (RFC 4731, RFC 5182, RFC 9394: never PARTIAL with ALL). An empty RETURN () is ALL."""

    MIN = enum.auto()
    MAX = enum.auto()
    ALL = enum.auto()
    COUNT = enum.auto()
    SAVE = enum.auto()
    PARTIAL = enum.auto()


@dataclass(frozen=True, slots=True)
class PartialRange:
    """partial-range (RFC 9394 4) as sent: places among the results from 1 on; both negative: from the last back."""

    first: int
    last: int

    def render(self) -> bytes:
        """As the response repeats it."""
        return b"%d:%d" % (self.first, self.last)

    def places(self, count: int) -> tuple[int, int]:
        """The places [start, stop) it means among `count` results, counted from 0; start == stop: none."""
        low, high = sorted((self.first, self.last))
        start, stop = (low - 1, high) if low > 0 else (count + low, count + high + 1)
        stop = max(0, min(stop, count))
        return min(max(0, start), stop), stop


@dataclass(frozen=True, slots=True)
class SearchKey:
    """Base of the search tree's nodes."""


@dataclass(frozen=True, slots=True)
class SearchAll(SearchKey):
    pass


@dataclass(frozen=True, slots=True)
class SearchAnd(SearchKey):
    keys: tuple[SearchKey, ...]


@dataclass(frozen=True, slots=True)
class SearchOr(SearchKey):
    left: SearchKey
    right: SearchKey


@dataclass(frozen=True, slots=True)
class SearchNot(SearchKey):
    key: SearchKey


@dataclass(frozen=True, slots=True)
class SearchFlag(SearchKey):
    """SEEN, UNSEEN, KEYWORD x, UNKEYWORD x …: `flag` is b"\\Seen" or a keyword as sent."""

    flag: bytes
    present: bool


@dataclass(frozen=True, slots=True)
class SearchRecent(SearchKey):
    """RECENT. NEW arrives as And(Recent, not \\Seen), OLD as Not(Recent)."""


class TextField(enum.Enum):
    BCC = b"BCC"
    BODY = b"BODY"
    CC = b"CC"
    FROM = b"FROM"
    SUBJECT = b"SUBJECT"
    TEXT = b"TEXT"
    TO = b"TO"


@dataclass(frozen=True, slots=True)
class SearchText(SearchKey):
    """Substring search, case-insensitive. `value` is decoded; empty matches every message that has the field."""

    field: TextField
    value: str


@dataclass(frozen=True, slots=True)
class SearchHeader(SearchKey):
    """HEADER name value; an empty value asks whether the field exists. `field` as sent."""

    field: bytes
    value: str


class DateField(enum.Enum):
    INTERNAL = b""
    SENT = b"SENT"
    SAVED = b"SAVED"


class DateTest(enum.Enum):
    BEFORE = b"BEFORE"
    ON = b"ON"
    SINCE = b"SINCE"


@dataclass(frozen=True, slots=True)
class SearchDate(SearchKey):
    """BEFORE/ON/SINCE and their SENT… and SAVED… forms. `day` without time and zone (RFC 9051: both are
    disregarded)."""

    field: DateField
    test: DateTest
    day: dt.date


@dataclass(frozen=True, slots=True)
class SearchSize(SearchKey):
    """LARGER (`larger`) and SMALLER: strictly more or fewer bytes than `size`."""

    larger: bool
    size: int


@dataclass(frozen=True, slots=True)
class SearchWithin(SearchKey):
    """YOUNGER (`younger`) and OLDER (RFC 5032), `seconds` >= 1."""

    younger: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class SearchSequence(SearchKey):
    """A set of message numbers, or of UIDs if `uid`; `sequence` may be `$`."""

    sequence: SequenceSet
    uid: bool


@dataclass(frozen=True, slots=True)
class SearchModseq(SearchKey):
    """RFC 7162 3.1.5: at least `modseq`. The entry name and type, which we treat alike, are kept for a registry that
    won't."""

    modseq: int
    entry: bytes | None = None
    entry_type: bytes | None = None


class ObjectIdKind(enum.Enum):
    EMAIL = b"EMAILID"
    THREAD = b"THREADID"


@dataclass(frozen=True, slots=True)
class SearchObjectId(SearchKey):
    """EMAILID and THREADID (RFC 8474)."""

    kind: ObjectIdKind
    value: bytes


@dataclass(frozen=True, slots=True)
class Search(Command):
    """`returns` is None for the RFC 3501 form (answer with SEARCH), else which ESEARCH results are asked."""

    name: ClassVar[bytes] = b"SEARCH"
    uid: bool
    key: SearchKey
    returns: SearchReturn | None = None
    charset: bytes | None = None
    partial: PartialRange | None = None
