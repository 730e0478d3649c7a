"""SORT and THREAD (RFC 5256), with the display criteria of RFC 5957."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.types.base import Command
from mailboat_wire.imap.types.search import SearchKey


class SortKey(enum.Enum):
    """sort-key; the value is the word."""

    ARRIVAL = b"ARRIVAL"
    CC = b"CC"
    DATE = b"DATE"
    DISPLAYFROM = b"DISPLAYFROM"
    DISPLAYTO = b"DISPLAYTO"
    FROM = b"FROM"
    SIZE = b"SIZE"
    SUBJECT = b"SUBJECT"
    TO = b"TO"


@dataclass(frozen=True, slots=True)
class SortCriterion:
    """One criterion; `reverse`: descending."""

    key: SortKey
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Sort(Command):
    """`criteria` in order of priority, each key once: a second mention could change nothing."""

    name: ClassVar[bytes] = b"SORT"
    uid: bool
    criteria: tuple[SortCriterion, ...]
    charset: bytes
    key: SearchKey


class ThreadAlgorithm(enum.Enum):
    """thread-alg; the value is the word."""

    ORDEREDSUBJECT = b"ORDEREDSUBJECT"
    REFERENCES = b"REFERENCES"


@dataclass(frozen=True, slots=True)
class Thread(Command):
    name: ClassVar[bytes] = b"THREAD"
    uid: bool
    algorithm: ThreadAlgorithm
    charset: bytes
    key: SearchKey
