"""What crosses the store's ports: plain frozen values, no behaviour of a database or a wire.

Ids are 16 raw bytes (UUIDv7). Modification sequences (modseq, RFC 7162) are 63-bit and rise within a mailbox;
UIDs are 32-bit (RFC 9051 2.3.1.1). Times are milliseconds since the epoch, UTC. Sizes are octets.

Flags of one message are a word list: word 0 holds keywords in bits 0-57, the five system flags in bits 58-62 and the
dead bit 63 (never seen outside the store); words 1-3 hold further keywords, 64 each: 250 keyword names per mailbox.
`FlagTable` turns names into bits; a bit is never renamed or reused within a mailbox.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType

AccountId = NewType("AccountId", bytes)
MailboxId = NewType("MailboxId", bytes)
BodyId = NewType("BodyId", bytes)

KEYWORD_BITS_WORD0 = 58
MAX_KEYWORDS = 250
MAX_FLAG_WORDS = 4

SEEN = 1 << 58
ANSWERED = 1 << 59
FLAGGED = 1 << 60
DELETED = 1 << 61
DRAFT = 1 << 62
DEAD = 1 << 63
SYSTEM_FLAGS: Mapping[str, int] = {
    "\\Seen": SEEN,
    "\\Answered": ANSWERED,
    "\\Flagged": FLAGGED,
    "\\Deleted": DELETED,
    "\\Draft": DRAFT,
}
SYSTEM_MASK = SEEN | ANSWERED | FLAGGED | DELETED | DRAFT


@dataclass(frozen=True, slots=True)
class FlagTable:
    """The keyword names of one mailbox in bit order (names compare case-insensitively, shown as first stored)."""

    keywords: tuple[str, ...] = ()
    version: int = 0

    @property
    def full(self) -> bool:
        """True once 250 names were ever used: PERMANENTFLAGS loses ``\\*``."""
        return len(self.keywords) >= MAX_KEYWORDS

    def bit(self, name: str) -> tuple[int, int] | None:
        """(word, mask) of a flag's name, None for a keyword the mailbox has never seen."""
        system = _SYSTEM_BY_FOLD.get(name.casefold())
        if system is not None:
            return 0, system
        fold = name.casefold()
        for i, keyword in enumerate(self.keywords):
            if keyword.casefold() == fold:
                return keyword_bit(i)
        return None

    def names(self, words: Sequence[int]) -> list[str]:
        """Names of the bits set in `words`: system flags first, then keywords in bit order."""
        out = [name for name, mask in SYSTEM_FLAGS.items() if words[0] & mask]
        for i, keyword in enumerate(self.keywords):
            word, mask = keyword_bit(i)
            if word < len(words) and words[word] & mask:
                out.append(keyword)
        return out


_SYSTEM_BY_FOLD = {name.casefold(): mask for name, mask in SYSTEM_FLAGS.items()}


def keyword_bit(index: int) -> tuple[int, int]:
    """(word, mask) of the keyword with this index in the table."""
    if index < KEYWORD_BITS_WORD0:
        return 0, 1 << index
    index -= KEYWORD_BITS_WORD0
    return 1 + (index >> 6), 1 << (index & 63)


@dataclass(slots=True)
class Columns:
    """Entries of one mailbox as parallel little-endian columns, ascending by UID; n rows each.

    `flags` has 1 to 4 columns (words); a missing word means 0. `body_ids` is 16 n bytes.
    `save_dates` and `internal_dates` are ms since the epoch.
    """

    uids: array[int] = field(default_factory=lambda: array("I"))
    modseqs: array[int] = field(default_factory=lambda: array("Q"))
    flags: list[array[int]] = field(default_factory=lambda: [array("Q")])
    body_ids: bytes | bytearray = b""
    internal_dates: array[int] = field(default_factory=lambda: array("q"))
    save_dates: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.uids)

    def words(self, row: int) -> tuple[int, ...]:
        """The flag words of a row."""
        return tuple(column[row] for column in self.flags)

    def body_id(self, row: int) -> BodyId:
        """The body id of a row."""
        return BodyId(bytes(self.body_ids[16 * row : 16 * row + 16]))


class SpecialUse(enum.Enum):
    """RFC 6154 attributes; the value is the attribute's name."""

    ALL = "\\All"
    ARCHIVE = "\\Archive"
    DRAFTS = "\\Drafts"
    FLAGGED = "\\Flagged"
    JUNK = "\\Junk"
    SENT = "\\Sent"
    TRASH = "\\Trash"
    IMPORTANT = "\\Important"


@dataclass(frozen=True, slots=True)
class MailboxHead:
    """One mailbox as its document said in the snapshot the answer came from."""

    mailbox_id: MailboxId
    name: str
    uid_validity: int
    uid_next: int
    highest_modseq: int
    messages: int
    unseen: int
    deleted: int
    size: int
    flag_table: FlagTable
    special_use: SpecialUse | None = None
    subscribed: bool = True
    first_recent: int = 1
    """First UID no session was told about as \\Recent yet."""
    first_uid_validity: int = 0
    """The `uid_validity` it was made with, if a restore has raised it since; 0: never."""


@dataclass(frozen=True, slots=True)
class MailboxTree:
    """All mailboxes of an account; `version` rises with CREATE, RENAME, DELETE and SUBSCRIBE."""

    version: int
    mailboxes: tuple[MailboxHead, ...]
    subscribed_names: tuple[str, ...] = ()
    """Names subscribed to, existing or not (RFC 9051 6.3.7)."""


@dataclass(frozen=True, slots=True)
class MailboxChanges:
    """Everything that happened after `since` (0: the whole mailbox), from one snapshot; `head.highest_modseq` is
    the new sync point.

    `changed` holds rows with modseq > since (new or re-flagged); `vanished` the UIDs removed after `since`, ascending.
    Below the vanished floor `vanished` holds every UID under uid_next that isn't there (RFC 7162 3.2.10) and
    `floor_reached` is True.
    """

    head: MailboxHead
    since: int
    changed: Columns
    vanished: array[int]
    floor_reached: bool = False


@dataclass(frozen=True, slots=True)
class Vanished:
    """The UIDs removed from a mailbox after some modseq, from the snapshot whose highest modseq is `modseq`.

    `ranges` are ascending, disjoint (first, last). With `floor_reached` the mailbox no longer knows so far back: they
    are every UID under uid_next that isn't there (RFC 7162 3.2.10 allows it).
    """

    modseq: int
    ranges: tuple[tuple[int, int], ...]
    floor_reached: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """What one mutation did to one mailbox. A view whose sync point equals `modseq_before` applies it directly,
    any other asks for changes.

    `changed` holds the new state of touched rows (for appended rows the whole row).
    """

    mailbox_id: MailboxId
    modseq_before: int
    modseq_after: int
    uid_next: int
    flag_table: FlagTable
    changed: Columns
    vanished: array[int]


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """One message of an APPEND. `content` is the exact bytes. `internal_date` in ms, None: now."""

    content: bytes
    flags: tuple[str, ...] = ()
    internal_date: int | None = None


@dataclass(frozen=True, slots=True)
class AppendResult:
    """RFC 4315 APPENDUID: the mailbox's uid_validity and the UIDs in the order of the messages."""

    uid_validity: int
    uids: tuple[int, ...]
    delta: Delta


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account uses and may use (RFC 9208): octets and messages. A limit of 0 is none."""

    bytes_used: int
    bytes_limit: int
    messages_used: int
    messages_limit: int

    @property
    def exhausted(self) -> bool:
        """Whether not one more message fits."""
        full = self.bytes_limit and self.bytes_used >= self.bytes_limit
        return bool(full or (self.messages_limit and self.messages_used >= self.messages_limit))

    def admits(self, size: int, messages: int) -> bool:
        """Whether `messages` more, of `size` octets together, stay within both limits."""
        if self.bytes_limit and self.bytes_used + size > self.bytes_limit:
            return False
        return not self.messages_limit or self.messages_used + messages <= self.messages_limit


@dataclass(frozen=True, slots=True)
class ReplaceResult:
    """REPLACE (RFC 8508): where the new message is. `source` is the delta of the mailbox it was taken out of, None if
    that is the target: then `target` holds both the new row and the old one's UID.
    """

    uid_validity: int
    uid: int
    target: Delta
    source: Delta | None = None


class FlagMode(enum.Enum):
    """RFC 9051 6.4.6."""

    ADD = "+"
    REMOVE = "-"
    REPLACE = ""


@dataclass(frozen=True, slots=True)
class StoreResult:
    """`modified`: UIDs left alone because their modseq is above UNCHANGEDSINCE (RFC 7162 3.1.3).

    A row whose flags were already so is not changed and gets no new modseq; it is not in `delta.changed`.
    """

    delta: Delta
    modified: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyResult:
    """COPY or MOVE: parallel tuples of source and destination UIDs (RFC 4315 COPYUID). `source` is set by MOVE."""

    uid_validity: int
    source_uids: tuple[int, ...]
    target_uids: tuple[int, ...]
    target: Delta
    source: Delta | None = None


@dataclass(frozen=True, slots=True)
class BodyInfo:
    """What is rendered of a body at its arrival. Fields not asked for are None.

    `header` is the header block with its blank line; None too if it is over 256 KB (read it by range instead: [0,
    header_size)).
    `structure` is mailboat_mime's serialised Part tree, `sort_keys` its serialised SortKeys. `envelope`,
    `bodystructure`, `body` are IMAP text, ready to send. `thread` is 16 bytes, equal for messages of one conversation
    and kept by copies.
    """

    body_id: BodyId
    size: int
    header_size: int
    header: bytes | None = None
    structure: bytes | None = None
    envelope: bytes | None = None
    bodystructure: bytes | None = None
    body: bytes | None = None
    preview: str | None = None
    thread: bytes | None = None
    sort_keys: bytes | None = None


class BodyField(enum.Flag):
    """Which fields of BodyInfo are asked for; sizes always come."""

    NONE = 0
    HEADER = 1
    STRUCTURE = 2
    ENVELOPE = 4
    BODYSTRUCTURE = 8
    BODY = 16
    PREVIEW = 32
    THREAD = 64
    SORT_KEYS = 128


class RecipientStatus(enum.Enum):
    """What Directory.resolve says of one address at RCPT (RFC 5321 3.3, 4.2)."""

    LOCAL = "local"
    UNKNOWN = "unknown"  # our domain, nobody there: 550 5.1.1
    DISABLED = "disabled"  # 550 5.2.1
    OVER_QUOTA = "over_quota"  # 452 4.2.2
    NOT_LOCAL = "not_local"  # not our domain: relay question
    NOT_PERMITTED = "not_permitted"  # a group that this sender may not write to: 550 5.7.1


@dataclass(frozen=True, slots=True)
class Resolution:
    """`address` as given; `account_id` set for LOCAL and OVER_QUOTA, BY_ADDRESS if it is no account's; `mailbox` is the
    plus-tag's hint (may not exist). `suppressed`: NOT_LOCAL and on the suppression list, a submission to it is refused.
    `restricted`: another sender may get another answer.
    """

    address: str
    status: RecipientStatus
    account_id: AccountId | None = None
    mailbox: str | None = None
    suppressed: bool = False
    restricted: bool = False


class AuthStatus(enum.Enum):
    """Why a login succeeded or not; all failures look the same to the client but THROTTLED and UNAVAILABLE."""

    OK = "ok"
    BAD_CREDENTIALS = "bad_credentials"
    DISABLED = "disabled"
    THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class AuthResult:
    """`login` is the account's canonical address; `imap_masked_capabilities` are hidden from its IMAP sessions."""

    status: AuthStatus
    account_id: AccountId | None = None
    login: str = ""
    imap_masked_capabilities: tuple[str, ...] = ()


NO_ACCOUNT = AccountId(b"")
"""Nobody's: a recipient elsewhere, a sender who isn't ours."""

BY_ADDRESS = AccountId(bytes(16))
"""An address of ours that is no account's (a group, a catch-all): Deliver finds out whom it leads to."""


@dataclass(frozen=True, slots=True)
class Reception:
    """When a gateway saw what of a transaction, for its trace: ms since the epoch, 0 for what didn't happen.

    `first_command` and `secured` (STARTTLS) are the connection's; `data` is the first octet of the message asked for,
    `data_end` its last one read. `tls` is "TLSv1.3 CIPHER", empty in the clear. `number` counts the transactions of a
    connection from 1.
    """

    connected: int
    first_command: int = 0
    secured: int = 0
    mail: int = 0
    data: int = 0
    data_end: int = 0
    tls: str = ""
    number: int = 1


@dataclass(frozen=True, slots=True)
class Answered:
    """The reply to a message, in one line, and when it was given (ms since the epoch); for the trace."""

    trace_id: str
    at: int
    reply: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """An SMTP transaction as accepted.

    `reverse_path` "" is the null one. `content_sha256` is over the bytes before our Received field. `confirmed` names
    earlier transactions of the same connection whose 250 the client has read, `answered` what those were told.
    `account_id` is the authenticated client's; only such an envelope may have remote recipients. `reception` and
    `answered` are for traces alone.
    """

    trace_id: str
    reverse_path: str
    recipients: tuple[EnvelopeRecipient, ...]
    content_sha256: bytes
    listener: str = "smtp"
    client: str = ""
    helo: str = ""
    authenticated: str = ""
    smtputf8: bool = False
    envid: str = ""
    ret: str = ""
    confirmed: tuple[str, ...] = ()
    account_id: AccountId = NO_ACCOUNT
    reception: Reception | None = None
    answered: tuple[Answered, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvelopeRecipient:
    """One accepted RCPT. `account_id` NO_ACCOUNT: another server's. `notify` and `orcpt` are RFC 3461's."""

    address: str
    account_id: AccountId
    mailbox: str | None = None
    notify: str = ""
    orcpt: str = ""

    @property
    def remote(self) -> bool:
        """Whether it goes into the outbound queue."""
        return self.account_id == NO_ACCOUNT


class DeliveryStatus(enum.Enum):
    """What became of one recipient within the Deliver call."""

    FILED = "filed"
    ACCEPTED = "accepted"  # in an `accepted` document; the sweep files it
    DUPLICATE = "duplicate"  # same bytes, reverse-path, recipient while the first 250 was unconfirmed
    OVER_QUOTA = "over_quota"
    GONE = "gone"  # account deleted or disabled since RCPT
    UNAVAILABLE = "unavailable"
    QUEUED = "queued"  # for another server: in the outbound queue
    LOOP = "loop"  # came back to a group that sent it on before


@dataclass(frozen=True, slots=True)
class RecipientResult:
    """`duplicate_of` names the first trace of a DUPLICATE."""

    address: str
    status: DeliveryStatus
    uid: int = 0
    mailbox_id: MailboxId | None = None
    duplicate_of: str = ""


@dataclass(frozen=True, slots=True)
class DeliverResult:
    """Results in the order of the envelope's recipients."""

    recipients: tuple[RecipientResult, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    """Clients were told of a message by EXISTS: `sessions` of them, the first at `at` (ms since the epoch)."""

    account_id: AccountId
    mailbox_id: MailboxId
    uid: int
    body_id: BodyId
    at: int
    sessions: int


@dataclass(frozen=True, slots=True)
class MaildropLease:
    """POP3's exclusive maildrop (RFC 1939 4): valid until `expires_at` (ms) unless renewed; `token` is needed
    to renew and release.
    """

    token: bytes
    expires_at: int


NO_MAILBOX = MailboxId(bytes(16))
"""The mailbox of news that concerns the account itself."""


@dataclass(frozen=True, slots=True)
class MailboxChanged:
    """News on exchange `mailboat.events`, key `mailbox.NNN`: published straight after the commit, may be lost.

    With `tree_version` or `account_closed` it is news of the account, and its mailbox is NO_MAILBOX.
    """

    account_id: AccountId
    mailbox_id: MailboxId
    modseq: int
    committed_at: int
    """ms since the epoch; for imap_notify_delay_seconds."""
    deleted: bool = False
    """The mailbox is gone: sessions in it get BYE between commands."""
    tree_version: int = 0
    """The account's mailboxes or subscriptions changed; the version is the tree's now. 0: they didn't."""
    account_closed: bool = False
    """The account was disabled or deleted: its sessions get BYE between commands."""
