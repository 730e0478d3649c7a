"""Commands on mailboxes.

RFC 9051 6.3; ENABLE (RFC 5161), NAMESPACE (2342), LIST-EXTENDED (5258), LIST-STATUS (5819), SPECIAL-USE (6154),
CONDSTORE and QRESYNC (7162), UTF8 (6855), BINARY (3516).
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.sequence import SequenceSet
from mailboat_wire.imap.types.base import Command


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """RFC 5161. `features` upper case, in the client's order."""

    name: ClassVar[bytes] = b"ENABLE"
    features: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Namespace(Command):
    name: ClassVar[bytes] = b"NAMESPACE"


@dataclass(frozen=True, slots=True)
class QResync:
    """RFC 7162 3.2.5: what the client knew when it left. `match` is (message numbers, their UIDs)."""

    uid_validity: int
    modseq: int
    known_uids: SequenceSet | None = None
    match: tuple[SequenceSet, SequenceSet] | None = None


@dataclass(frozen=True, slots=True)
class Select(Command):
    name: ClassVar[bytes] = b"SELECT"
    mailbox: str
    condstore: bool = False
    qresync: QResync | None = None


@dataclass(frozen=True, slots=True)
class Examine(Command):
    name: ClassVar[bytes] = b"EXAMINE"
    mailbox: str
    condstore: bool = False
    qresync: QResync | None = None


@dataclass(frozen=True, slots=True)
class Create(Command):
    """`special_use` as in RFC 6154 5.3, canonical case (b"\\Drafts"). A trailing delimiter of the name is already
    dropped."""

    name: ClassVar[bytes] = b"CREATE"
    mailbox: str
    special_use: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete(Command):
    name: ClassVar[bytes] = b"DELETE"
    mailbox: str


@dataclass(frozen=True, slots=True)
class Rename(Command):
    name: ClassVar[bytes] = b"RENAME"
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Subscribe(Command):
    name: ClassVar[bytes] = b"SUBSCRIBE"
    mailbox: str


@dataclass(frozen=True, slots=True)
class Unsubscribe(Command):
    name: ClassVar[bytes] = b"UNSUBSCRIBE"
    mailbox: str


class ListSelect(enum.Flag):
    """LIST selection options (RFC 5258 3.1, RFC 6154 5.1)."""

    NONE = 0
    SUBSCRIBED = enum.auto()
    REMOTE = enum.auto()
    RECURSIVE_MATCH = enum.auto()
    SPECIAL_USE = enum.auto()


class ListReturn(enum.Flag):
    """LIST return options (RFC 5258 3.2, RFC 6154 5.2). STATUS is `List.status`."""

    NONE = 0
    SUBSCRIBED = enum.auto()
    CHILDREN = enum.auto()
    SPECIAL_USE = enum.auto()


@dataclass(frozen=True, slots=True)
class List(Command):
    """LIST, plain and extended. `status` holds the items of RETURN (STATUS (...)), upper case, empty if not asked.

    `extended` says that an extended form was used: then an empty pattern is a pattern, not a question for the
    delimiter.
    """

    name: ClassVar[bytes] = b"LIST"
    reference: str
    patterns: tuple[str, ...]
    select: ListSelect = ListSelect.NONE
    returns: ListReturn = ListReturn.NONE
    status: tuple[bytes, ...] = ()
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Lsub(Command):
    name: ClassVar[bytes] = b"LSUB"
    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Status(Command):
    """`items` upper case, without repeats; whether a server knows them is its registry's business."""

    name: ClassVar[bytes] = b"STATUS"
    mailbox: str
    items: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """One message of APPEND or REPLACE. `internal_date` is aware, in UTC, None if absent. `size` in bytes as announced.

    `binary`: sent as literal8 (RFC 3516); `utf8`: inside UTF8 (...) (RFC 6855). \\Recent is already dropped from
    `flags`.
    """

    flags: tuple[bytes, ...]
    internal_date: dt.datetime | None
    size: int
    binary: bool = False
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class Append(Command):
    """The head of APPEND (and its first message): the bytes follow as `LiteralChunk` events, see `framing`."""

    name: ClassVar[bytes] = b"APPEND"
    mailbox: str
    message: AppendMessage


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """RFC 2177. The client's DONE arrives as a `ContinuationLine`: call `ImapReceiver.expect_line()`."""

    name: ClassVar[bytes] = b"IDLE"
