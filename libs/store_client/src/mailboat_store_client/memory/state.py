"""The state that the fake's ports share, and the two ways rows come and go."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7

from .. import names
from ..annotations import MAX_ACCOUNT_OCTETS, octets
from ..types import (
    DELETED,
    MAX_FLAG_WORDS,
    NO_MAILBOX,
    SEEN,
    AccountId,
    BodyId,
    Columns,
    Delta,
    FlagTable,
    MailboxChanged,
    MailboxHead,
    MailboxId,
    MaildropLease,
    Quota,
    SpecialUse,
)

_DEFAULT_MAILBOXES: tuple[tuple[str, SpecialUse | None], ...] = (
    ("INBOX", None),
    ("Archive", SpecialUse.ARCHIVE),
    ("Drafts", SpecialUse.DRAFTS),
    ("Junk", SpecialUse.JUNK),
    ("Sent", SpecialUse.SENT),
    ("Trash", SpecialUse.TRASH),
)


@dataclass(slots=True)
class Row:
    uid: int
    modseq: int
    words: list[int]
    body_id: BodyId
    internal_date: int
    save_date: int
    size: int


@dataclass(slots=True)
class Mailbox:
    mailbox_id: MailboxId
    name: str
    uid_validity: int
    uid_next: int = 1
    first_uid_validity: int = 0
    modseq: int = 1
    keywords: list[str] = field(default_factory=list)
    special_use: SpecialUse | None = None
    first_recent: int = 1
    rows: dict[int, Row] = field(default_factory=dict)
    vanished: list[tuple[int, int]] = field(default_factory=list)  # (modseq, uid)
    annotations: dict[str, bytes] = field(default_factory=dict)
    vanished_floor: int = 0  # removals up to here are forgotten

    def vanished_since(self, modseq: int) -> list[int]:
        """UIDs removed after `modseq`, ascending; below the floor every UID that isn't there."""
        if modseq < self.vanished_floor:
            return [uid for uid in range(1, self.uid_next) if uid not in self.rows]
        return sorted(uid for at, uid in self.vanished if at > modseq)

    def table(self) -> FlagTable:
        return FlagTable(tuple(self.keywords), len(self.keywords))

    def with_keywords(self, flags: Iterable[str]) -> list[str]:
        """The keyword list once `flags` have bits; Refused LIMIT if one finds none."""
        grown = list(self.keywords)
        for flag in flags:
            table = FlagTable(tuple(grown))
            if table.bit(flag) is None:
                if flag.startswith("\\"):
                    raise Refused(RefusedCode.INVALID, "Unknown system flag")
                if table.full:
                    raise Refused(RefusedCode.LIMIT, "Too many keywords in this mailbox")
                grown.append(flag)
        return grown

    def words(self, flags: Iterable[str]) -> list[int]:
        out = [0] * MAX_FLAG_WORDS
        table = self.table()
        for flag in flags:
            bit = table.bit(flag)
            if bit is not None:
                out[bit[0]] |= bit[1]
        return out


@dataclass(slots=True)
class Account:
    account_id: AccountId
    address: str
    password: str
    quota_bytes: int = 0
    quota_messages: int = 0
    usage: int = 0
    disabled: bool = False
    annotations: dict[str, bytes] = field(default_factory=dict)
    imap_masked_capabilities: list[str] = field(default_factory=list)
    tree_version: int = 1
    last_uid_validity: int = 0
    mailboxes: dict[MailboxId, Mailbox] = field(default_factory=dict)
    subscribed: set[str] = field(default_factory=set)
    bodies: dict[BodyId, bytes] = field(default_factory=dict)
    done: dict[bytes, object] = field(default_factory=dict)
    lease: tuple[MaildropLease, str] | None = None
    retention_days: int | None = None  # None: the domain's; -1: never
    retrieved: dict[MailboxId, dict[int, int]] = field(default_factory=dict)  # UID: ms of the first retrieval

    def quota(self) -> Quota:
        messages = sum(len(mailbox.rows) for mailbox in self.mailboxes.values())
        return Quota(self.usage, self.quota_bytes, messages, self.quota_messages)


def columns(rows: Iterable[Row]) -> Columns:
    out = Columns(flags=[array("Q") for _ in range(MAX_FLAG_WORDS)], body_ids=bytearray())
    ids = bytearray()
    for row in rows:
        out.uids.append(row.uid)
        out.modseqs.append(row.modseq)
        for column, word in zip(out.flags, row.words, strict=True):
            column.append(word)
        ids += row.body_id
        out.internal_dates.append(row.internal_date)
        out.save_dates.append(row.save_date)
        out.sizes.append(row.size)
    while len(out.flags) > 1 and not any(out.flags[-1]):
        out.flags.pop()
    out.body_ids = bytes(ids)
    return out


class State:
    """Everything the ports share. `clock` gives ms since the epoch; `publish` tells the listeners."""

    def __init__(self, domains: Sequence[str] = ("example.test",), clock: Callable[[], int] | None = None) -> None:
        self.clock = clock or (lambda: time.time_ns() // 1_000_000)
        self.domains = set(domains)
        self.suppressed: set[str] = set()
        self.accounts: dict[AccountId, Account] = {}
        self.addresses: dict[str, AccountId] = {}
        self.groups: dict[str, tuple[tuple[str, ...], str]] = {}
        self.delivered: dict[tuple[bytes, str, str], str] = {}
        self.confirmed: set[str] = set()
        self.traces: dict[tuple[AccountId, BodyId], str] = {}
        self.domain_retention: dict[str, int] = {}
        self.available = True
        self._listeners: list[Callable[[MailboxChanged], None]] = []

    def add_account(self, address: str, password: str, quota: int = 0, quota_messages: int = 0) -> AccountId:
        """A new account with the default mailboxes."""
        account = Account(AccountId(uuid7()), address.lower(), password, quota, quota_messages)
        self.accounts[account.account_id] = account
        self.addresses[account.address] = account.account_id
        self.domains.add(account.address.rpartition("@")[2])
        for name, special_use in _DEFAULT_MAILBOXES:
            self.add_mailbox(account, name, special_use)
        return account.account_id

    def add_alias(self, address: str, account_id: AccountId) -> None:
        """Another address of an account."""
        self.addresses[address.lower()] = account_id

    def add_group(self, address: str, members: Sequence[str], who: str = "anyone") -> None:
        """An address of several. `who` may write to it: anyone, members, domain."""
        self.groups[address.lower()] = tuple(member.lower() for member in members), who

    def members(self, address: str) -> tuple[list[str], list[str]]:
        """(addresses of accounts here, addresses elsewhere) that a group leads to, each once."""
        here: dict[str, None] = {}
        elsewhere: dict[str, None] = {}
        seen, waiting = set[str](), [address.lower()]
        while waiting:
            name = waiting.pop(0)
            if name in self.groups and name not in seen:
                seen.add(name)
                waiting += self.groups[name][0]
            elif name in self.addresses:
                here[name] = None
            elif name.rpartition("@")[2] not in self.domains:
                elsewhere[name] = None
        return list(here), list(elsewhere)

    def add_mailbox(self, account: Account, name: str, special_use: SpecialUse | None = None) -> Mailbox:
        """A new mailbox whose uid_validity is above every earlier one of the account."""
        account.last_uid_validity = max(self.clock() // 1000, account.last_uid_validity + 1)
        mailbox = Mailbox(MailboxId(uuid7()), name, account.last_uid_validity, special_use=special_use)
        account.mailboxes[mailbox.mailbox_id] = mailbox
        account.subscribed.add(name)
        account.tree_version += 1
        return mailbox

    def publish_tree(self, account: Account) -> None:
        """Say that the account's mailboxes or subscriptions changed."""
        self._tell(MailboxChanged(account.account_id, NO_MAILBOX, 0, self.clock(), tree_version=account.tree_version))

    def close_account(self, account_id: AccountId) -> None:
        """Disable an account, as an operator does."""
        self.account(account_id).disabled = True
        self._tell(MailboxChanged(account_id, NO_MAILBOX, 0, self.clock(), account_closed=True))

    def subscribe(self, listener: Callable[[MailboxChanged], None]) -> Callable[[], None]:
        """Call `listener` after each commit; returns the function that ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def account(self, account_id: AccountId) -> Account:
        account = self.accounts.get(account_id)
        if account is None:
            raise Refused(RefusedCode.NO_ACCOUNT, "No such account")
        return account

    def mailbox(self, account_id: AccountId, mailbox_id: MailboxId) -> tuple[Account, Mailbox]:
        account = self.account(account_id)
        mailbox = account.mailboxes.get(mailbox_id)
        if mailbox is None:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        return account, mailbox

    def by_name(self, account: Account, name: str) -> Mailbox:
        name = names.canonical(name)
        for mailbox in account.mailboxes.values():
            if mailbox.name == name:
                return mailbox
        raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")

    def head(self, account: Account, mailbox: Mailbox) -> MailboxHead:
        rows = mailbox.rows.values()
        return MailboxHead(
            mailbox.mailbox_id,
            mailbox.name,
            mailbox.uid_validity,
            mailbox.uid_next,
            mailbox.modseq,
            messages=len(rows),
            unseen=sum(not row.words[0] & SEEN for row in rows),
            deleted=sum(bool(row.words[0] & DELETED) for row in rows),
            size=sum(row.size for row in rows),
            flag_table=mailbox.table(),
            special_use=mailbox.special_use,
            subscribed=mailbox.name in account.subscribed,
            first_recent=mailbox.first_recent,
            first_uid_validity=mailbox.first_uid_validity,
        )

    def add_rows(
        self,
        account: Account,
        mailbox: Mailbox,
        rows: Sequence[tuple[BodyId, list[int], int, int]],
        saved_at: int | None = None,
    ) -> Delta:
        """Add (body, words, internal date, size) rows under one new modseq; usage grows with them."""
        saved_at = self.clock() if saved_at is None else saved_at
        before = mailbox.modseq
        mailbox.modseq += 1
        added = []
        for body_id, words, internal_date, size in rows:
            row = Row(mailbox.uid_next, mailbox.modseq, words, body_id, internal_date, saved_at, size)
            mailbox.uid_next += 1
            mailbox.rows[row.uid] = row
            account.usage += size
            added.append(row)
        return self.delta(account, mailbox, before, added)

    def remove_rows(self, account: Account, mailbox: Mailbox, uids: Sequence[int]) -> Delta:
        """Take rows out under one new modseq."""
        before = mailbox.modseq
        if uids:
            mailbox.modseq += 1
        for uid in uids:
            account.usage -= mailbox.rows.pop(uid).size
            mailbox.vanished.append((mailbox.modseq, uid))
        return self.delta(account, mailbox, before, (), uids)

    def prune_vanished(self, account_id: AccountId, mailbox_id: MailboxId) -> None:
        """Forget which UIDs were removed up to now, as the store's garbage collection does after 90 days."""
        _, mailbox = self.mailbox(account_id, mailbox_id)
        mailbox.vanished.clear()
        mailbox.vanished_floor = mailbox.modseq

    def delta(
        self, account: Account, mailbox: Mailbox, before: int, rows: Iterable[Row], vanished: Sequence[int] = ()
    ) -> Delta:
        """The mutation's outcome; news goes out if anything changed."""
        if mailbox.modseq != before:
            self.publish(account, mailbox)
        return Delta(
            mailbox.mailbox_id,
            before,
            mailbox.modseq,
            mailbox.uid_next,
            mailbox.table(),
            columns(rows),
            array("I", sorted(vanished)),
        )

    def publish(self, account: Account, mailbox: Mailbox, *, deleted: bool = False) -> None:
        self._tell(MailboxChanged(account.account_id, mailbox.mailbox_id, mailbox.modseq, self.clock(), deleted))

    def _tell(self, event: MailboxChanged) -> None:
        for listener in list(self._listeners):
            listener(event)

    def check_annotations(self, account: Account, more: int) -> None:
        """Refused LIMIT if `more` octets of annotations don't fit into the account."""
        owners = [account.annotations, *(mailbox.annotations for mailbox in account.mailboxes.values())]
        if more > 0 and sum(map(octets, owners)) + more > MAX_ACCOUNT_OCTETS:
            raise Refused(RefusedCode.LIMIT, "Too many annotations")

    def check_quota(self, account: Account, size: int, messages: int) -> None:
        if not account.quota().admits(size, messages):
            raise Refused(RefusedCode.OVER_QUOTA, "Quota exceeded")


def blind(delta: Delta) -> Delta:
    """A repeat's delta: no view's sync point matches it, so views ask for changes."""
    return replace(delta, modseq_before=0, changed=Columns(), vanished=array("I"))
