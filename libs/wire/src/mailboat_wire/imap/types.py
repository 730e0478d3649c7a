"""What an IMAP client can ask, as frozen values: one class per command, its arguments typed.

RFC 9051 section 9 (formal syntax) and RFC 3501 section 9, with LITERAL+ (7888), SASL-IR (4959), ENABLE (5161), ID
(2971), NAMESPACE (2342), UNSELECT (3691), UIDPLUS (4315), MOVE (6851), CONDSTORE and QRESYNC (7162), ESEARCH (4731),
SEARCHRES (5182), LIST-EXTENDED (5258), LIST-STATUS (5819), SPECIAL-USE (6154), WITHIN (5032), OBJECTID (8474),
SAVEDATE (8514), BINARY (3516).

Rules: a value here is syntactically right and bounded; whether it is allowed now is the session's business.
Atoms that name something (flags, items, mechanisms, capabilities) are bytes, upper case where the protocol ignores
case.
Mailbox names and search strings are str, decoded once by the parser.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass
from typing import ClassVar

from mailboat_wire.imap.sequence import SequenceSet


@dataclass(frozen=True, slots=True)
class Command:
    """Base of all commands. `name` is the command's word, without UID: the key of a registry or a metric."""

    name: ClassVar[bytes] = b""
    tag: bytes


# --- Any state (RFC 9051 6.1) -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capability(Command):
    name: ClassVar[bytes] = b"CAPABILITY"


@dataclass(frozen=True, slots=True)
class Noop(Command):
    name: ClassVar[bytes] = b"NOOP"


@dataclass(frozen=True, slots=True)
class Logout(Command):
    name: ClassVar[bytes] = b"LOGOUT"


@dataclass(frozen=True, slots=True)
class Id(Command):
    """RFC 2971. `params` is None for NIL; names and values as sent, a value may be NIL (None)."""

    name: ClassVar[bytes] = b"ID"
    params: tuple[tuple[bytes, bytes | None], ...] | None


@dataclass(frozen=True, slots=True)
class UnknownCommand(Command):
    """A well-formed tag with a word nobody knows (upper case, at most 64 bytes): answered BAD with the tag."""

    name: ClassVar[bytes] = b"UNKNOWN"
    word: bytes


# --- Not authenticated (6.2) --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartTls(Command):
    name: ClassVar[bytes] = b"STARTTLS"


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """`mechanism` upper case. `initial` is the initial response still in base64 (SASL-IR), b"=" being empty; None if
    absent."""

    name: ClassVar[bytes] = b"AUTHENTICATE"
    mechanism: bytes
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class Login(Command):
    name: ClassVar[bytes] = b"LOGIN"
    username: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Login(tag={self.tag!r}, username={self.username!r}, password=...)"


# --- Authenticated (6.3) ------------------------------------------------------------------------------------------


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
    """One message of APPEND. `internal_date` is aware, in UTC, None if absent. `size` in bytes as announced.

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


# --- Selected (6.4) -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check(Command):
    name: ClassVar[bytes] = b"CHECK"


@dataclass(frozen=True, slots=True)
class Close(Command):
    name: ClassVar[bytes] = b"CLOSE"


@dataclass(frozen=True, slots=True)
class Unselect(Command):
    name: ClassVar[bytes] = b"UNSELECT"


@dataclass(frozen=True, slots=True)
class Expunge(Command):
    """`uids` is set for UID EXPUNGE (RFC 4315), None for EXPUNGE."""

    name: ClassVar[bytes] = b"EXPUNGE"
    uids: SequenceSet | None = None

    @property
    def uid(self) -> bool:
        return self.uids is not None


class SectionText(enum.Enum):
    """section-msgtext and section-text of RFC 9051; the value is the wire form."""

    ALL = b""
    HEADER = b"HEADER"
    HEADER_FIELDS = b"HEADER.FIELDS"
    HEADER_FIELDS_NOT = b"HEADER.FIELDS.NOT"
    TEXT = b"TEXT"
    MIME = b"MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """What stands in BODY[...]. `part` counts from 1, empty for the message; `fields` as the client wrote them."""

    part: tuple[int, ...] = ()
    text: SectionText = SectionText.ALL
    fields: tuple[bytes, ...] = ()

    def render(self) -> bytes:
        """The section as the response repeats it, without brackets. A field that is no atom is quoted."""
        words = [b"%d" % number for number in self.part]
        if self.text is not SectionText.ALL:
            words.append(self.text.value)
        section = b".".join(words)
        if self.fields:
            section += b" (%b)" % b" ".join(field if _plain(field) else _quote(field) for field in self.fields)
        return section


def _plain(field: bytes) -> bool:
    return bool(field) and not any(byte <= 32 or byte >= 127 or byte in b'(){%*"\\]' for byte in field)


def _quote(field: bytes) -> bytes:
    return b'"' + field.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@dataclass(frozen=True, slots=True)
class FetchItem:
    """A FETCH item that is one atom, upper case: b"FLAGS", b"UID", b"ENVELOPE", b"BODYSTRUCTURE", b"BODY" (the short
    structure), b"INTERNALDATE", b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT", b"RFC822.SIZE", b"MODSEQ", and any atom
    of an extension (b"EMAILID", b"PREVIEW"): a gateway's registry knows or refuses it."""

    name: bytes


@dataclass(frozen=True, slots=True)
class FetchSection(FetchItem):
    """BODY[...], BODY.PEEK[...], BINARY[...], BINARY.PEEK[...], BINARY.SIZE[...].

    `name` is b"BODY[", b"BINARY[" or b"BINARY.SIZE[" (with the bracket, so that it is a registry key apart from
    b"BODY").
    `partial` is (first byte, count), count >= 1.
    """

    section: Section
    peek: bool = False
    partial: tuple[int, int] | None = None

    def label(self) -> bytes:
        """How the response names it: `BODY[1.TEXT]<0>`; PEEK and the count are not repeated."""
        label = self.name + self.section.render() + b"]"
        return label if self.partial is None else b"%b<%d>" % (label, self.partial[0])


@dataclass(frozen=True, slots=True)
class Fetch(Command):
    """`items` with macros expanded and repeats dropped, in the client's order.

    `changed_since` (RFC 7162 3.1.4.1) in modseq; `vanished` (3.2.6) only with it and with `uid`.
    """

    name: ClassVar[bytes] = b"FETCH"
    uid: bool
    sequence: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None = None
    vanished: bool = False


class StoreMode(enum.Enum):
    REPLACE = b""
    ADD = b"+"
    REMOVE = b"-"


@dataclass(frozen=True, slots=True)
class Store(Command):
    """`flags`: system flags in canonical case, keywords as sent, no repeats, \\Recent dropped. `unchanged_since`: RFC
    7162 3.1.3."""

    name: ClassVar[bytes] = b"STORE"
    uid: bool
    sequence: SequenceSet
    mode: StoreMode
    silent: bool
    flags: tuple[bytes, ...]
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy(Command):
    name: ClassVar[bytes] = b"COPY"
    uid: bool
    sequence: SequenceSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class Move(Command):
    name: ClassVar[bytes] = b"MOVE"
    uid: bool
    sequence: SequenceSet
    mailbox: str


# --- SEARCH (6.4.4) -----------------------------------------------------------------------------------------------


class SearchReturn(enum.Flag):
    """RETURN options (RFC 4731, RFC 5182). An empty RETURN () is ALL."""

    MIN = enum.auto()
    MAX = enum.auto()
    ALL = enum.auto()
    COUNT = enum.auto()
    SAVE = enum.auto()


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
