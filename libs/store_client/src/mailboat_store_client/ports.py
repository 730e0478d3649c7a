"""The store's ports: what a gateway may ask of the storage authority.

Each port has three implementations that pass one contract suite (`tests/contract`): `memory` here (the fake that unit
and transcript tests use), `http` here (what the services use), and storage_api's own on MongoDB.

Errors: `mailboat_common.errors.Refused` with a `RefusedCode` (the user asked for what can't be: no such mailbox, over
quota, too many keywords, ...) and `Failure` (we failed: `Unavailable` may be tried again later). Nothing else escapes.

Every mutation takes `key`, 16 random bytes chosen by its caller: a repeat with the same key within 24 hours has no
second effect and returns the first result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from .queue import Queue
from .types import (
    NO_ACCOUNT,
    AccountId,
    Announcement,
    Answered,
    AppendMessage,
    AppendResult,
    AuthResult,
    BodyField,
    BodyId,
    BodyInfo,
    CopyResult,
    DeliverResult,
    Delta,
    Envelope,
    FlagMode,
    MailboxChanges,
    MailboxHead,
    MailboxId,
    MailboxTree,
    MaildropLease,
    Quota,
    ReplaceResult,
    Resolution,
    SpecialUse,
    StoreResult,
    Vanished,
)


class Directory(Protocol):
    """Who is who."""

    async def resolve(
        self, addresses: Sequence[str], *, sender: str = "", account_id: AccountId = NO_ACCOUNT
    ) -> list[Resolution]:
        """Answer for each address, in order.

        Plus-tags are split here (RFC 5233); postmaster and abuse always resolve. `sender` is the reverse-path and
        `account_id` whoever authenticated: a group may take mail from some only.
        """

    async def authenticate(self, login: str, password: str, *, protocol: str, client: str) -> AuthResult:
        """Check a password (any of the account's addresses as login).

        `client` is the true client address, for throttling.
        """

    async def owns(self, account_id: AccountId, addresses: Sequence[str]) -> list[bool]:
        """Whether the account may use each address as sender (its own address, with any plus-tag, and its aliases)."""


class MailboxRead(Protocol):
    """Reads; each answer comes from one majority snapshot."""

    async def tree(self, account_id: AccountId) -> MailboxTree:
        """All mailboxes, sorted by name, INBOX first."""

    async def head(self, account_id: AccountId, name: str) -> MailboxHead:
        """One mailbox by name (INBOX in any case). Refused NO_MAILBOX if there is none."""

    async def changes(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> MailboxChanges:
        """Everything after modseq `since`; 0 loads the whole mailbox (`vanished` is then empty).

        Refused NO_MAILBOX once deleted.
        """

    async def vanished(self, account_id: AccountId, mailbox_id: MailboxId, since: int) -> Vanished:
        """The UIDs removed after modseq `since` (at least 1), without the rows that changed. Refused NO_MAILBOX."""

    async def poll(self, wanted: Sequence[tuple[AccountId, MailboxId, int]]) -> list[tuple[MailboxId, int]]:
        """Of the (account, mailbox, known modseq) asked for: those whose highest_modseq is higher, with it; -1 for
        a deleted mailbox, and for every mailbox of an account that was disabled.
        """

    async def annotations(self, account_id: AccountId, name: str) -> dict[str, bytes]:
        """All annotations of a mailbox, or with name "" the account's own; entry names in no order.

        The special use is among them (`annotations.SPECIAL_USE`). Refused NO_MAILBOX, NO_ACCOUNT.
        """

    async def quota(self, account_id: AccountId) -> Quota:
        """What the account uses and may use. Refused NO_ACCOUNT."""

    async def body_infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        """Rendered fields of up to 1,000 bodies, in order; None for one that is gone."""

    async def contents(self, account_id: AccountId, body_ids: Sequence[BodyId], max_bytes: int) -> list[bytes | None]:
        """Whole messages, in order, for read-ahead: stops before the answer would pass `max_bytes` (but gives at
        least one); None: gone.
        """

    def read(
        self, account_id: AccountId, body_id: BodyId, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """A byte range of one message in chunks of about 64 KB. Refused NO_MESSAGE if it is gone."""

    async def maildrop_retention(self, account_id: AccountId | None) -> int | None:
        """Days after which what POP3 retrieved is removed (0: at QUIT); None: never. Refused NO_ACCOUNT.

        Without an account: the fewest days that any account has.
        """


class MailboxWrite(Protocol):
    """Mutations; each is committed on a majority before it returns."""

    async def create(
        self, account_id: AccountId, name: str, *, key: bytes, special_use: SpecialUse | None = None
    ) -> MailboxHead:
        """Create a mailbox and its missing parents. Refused MAILBOX_EXISTS, BAD_NAME, LIMIT."""

    async def rename(self, account_id: AccountId, name: str, new_name: str, *, key: bytes) -> None:
        """Rename with all children; of INBOX: create `new_name` and move everything there (RFC 9051 6.3.6)."""

    async def delete(self, account_id: AccountId, name: str, *, key: bytes) -> None:
        """Delete a mailbox; its name is free at once.

        Refused for INBOX (INBOX_FIXED) and for one with children (HAS_CHILDREN).
        """

    async def subscribe(self, account_id: AccountId, name: str, subscribed: bool, *, key: bytes) -> None:
        """Add or remove a name of the subscription list; it need not exist."""

    async def annotate(
        self, account_id: AccountId, name: str, values: Mapping[str, bytes | None], *, key: bytes
    ) -> None:
        """Set annotations of a mailbox (name "": of the account), or remove those whose value is None; all or none.

        Refused NO_MAILBOX, TOO_BIG (a value), LIMIT (too many), INVALID (an entry's name), SPECIAL_USE. What RENAME and
        DELETE do to annotations: RFC 5464 4.1.
        """

    async def append(
        self, account_id: AccountId, name: str, messages: Sequence[AppendMessage], *, key: bytes
    ) -> AppendResult:
        """Append all or nothing. Refused NO_MAILBOX (TRYCREATE), OVER_QUOTA, LIMIT (keywords), TOO_BIG."""

    async def store_flags(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        uids: Sequence[int],
        mode: FlagMode,
        flags: Sequence[str],
        *,
        key: bytes,
        unchanged_since: int | None = None,
    ) -> StoreResult:
        """Change flags of the UIDs that exist (others are passed over). Refused LIMIT when a keyword finds no bit."""

    async def expunge(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        uids: Sequence[int] | None,
        *,
        key: bytes,
        only_deleted: bool = True,
    ) -> Delta:
        """Remove messages: of `uids` (None: all) those with \\Deleted, or all of them with only_deleted=False
        (POP3).
        """

    async def copy(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        """Copy in one transaction, keywords mapped by name, dates kept.

        Refused NO_MAILBOX (TRYCREATE), OVER_QUOTA, LIMIT.
        """

    async def move(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        """Move in one transaction over both mailboxes (RFC 6851)."""

    async def replace(
        self, account_id: AccountId, mailbox_id: MailboxId, uid: int, target: str, message: AppendMessage, *, key: bytes
    ) -> ReplaceResult:
        """Append `message` to `target` and remove the message `uid` of `mailbox_id`, in one transaction (RFC 8508).

        Quota is judged on the difference; what shrinks an account is never refused for it. Refused NO_MESSAGE if there
        is no such message, and as by append: NO_MAILBOX (TRYCREATE), OVER_QUOTA, LIMIT, TOO_BIG.
        """

    async def claim_recent(self, account_id: AccountId, mailbox_id: MailboxId) -> int:
        """SELECT's claim: messages with UID >= the returned value are \\Recent for this session and for no other."""

    async def lease_maildrop(self, account_id: AccountId, holder: str, seconds: int) -> MaildropLease:
        """POP3's exclusive lease. Refused IN_USE while another holder's lease lives.

        `holder` is unique to an attempt: a repeat by the same holder takes the lease anew.
        """

    async def renew_maildrop(self, account_id: AccountId, token: bytes, seconds: int) -> MaildropLease:
        """Refused IN_USE if the lease was lost."""

    async def release_maildrop(self, account_id: AccountId, token: bytes) -> None:
        """No effect if the lease is no longer ours."""

    async def record_retrieved(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], *, key: bytes
    ) -> None:
        """POP3 gave these messages whole: their days begin, unless they had begun before. Refused NO_MAILBOX."""


class Delivery(Protocol):
    """Mail in."""

    async def deliver(self, envelope: Envelope, content: bytes) -> DeliverResult:
        """File `content` (with our trace fields prepended) for each recipient, or keep it in an `accepted` document.

        When this returns, every recipient with status FILED, ACCEPTED or DUPLICATE is committed on a
        majority. `envelope.trace_id` is the idempotency key.
        """

    async def confirm(self, trace_ids: Sequence[str], answered: Sequence[Answered] = ()) -> None:
        """Clients spoke again after our 250: what begins after these transactions is no repeat of them.

        May be lost; a deliberate second copy within an hour is then taken for a duplicate. `answered` is for traces:
        what was said to transactions, read by the client or (those that aren't in `trace_ids`) not.
        """


class Trace(Protocol):
    """What becomes of messages, for operators: nothing relies on it, and whatever is told here may be lost."""

    async def announced(self, announcements: Sequence[Announcement], *, by: str) -> int:
        """Clients were told of up to 1,000 messages by the process `by`. Returns how many of these have a trace.

        A message that wasn't delivered but appended has none. A repeat is told twice.
        """


class Store(Protocol):
    """All ports of one store, as a service's main wires them."""

    @property
    def directory(self) -> Directory: ...
    @property
    def read(self) -> MailboxRead: ...
    @property
    def write(self) -> MailboxWrite: ...
    @property
    def delivery(self) -> Delivery: ...
    @property
    def queue(self) -> Queue: ...
    @property
    def trace(self) -> Trace: ...
    async def ready(self) -> bool:
        """Whether the store answers now; for /readyz."""

    async def close(self) -> None:
        """End connections; calls that run are finished or failed as Unavailable."""
