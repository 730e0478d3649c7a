"""The MailboxWrite port of the fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7

from .. import names
from ..annotations import changed, octets, split_use, use_of
from ..types import (
    DELETED,
    AccountId,
    AppendMessage,
    AppendResult,
    BodyId,
    CopyResult,
    Delta,
    FlagMode,
    MailboxHead,
    MailboxId,
    MaildropLease,
    ReplaceResult,
    SpecialUse,
    StoreResult,
)
from .state import Account, Mailbox, State, blind


class MemoryMailboxWrite:
    """The MailboxWrite port."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def create(
        self, account_id: AccountId, name: str, *, key: bytes, special_use: SpecialUse | None = None
    ) -> MailboxHead:
        account = self._state.account(account_id)
        if isinstance(done := account.done.get(key), MailboxHead):
            return done
        name = names.canonical(name)
        existing = {m.name for m in account.mailboxes.values()}
        if name in existing:
            raise Refused(RefusedCode.MAILBOX_EXISTS, "Mailbox already exists")
        if special_use is not None and any(m.special_use is special_use for m in account.mailboxes.values()):
            raise Refused(RefusedCode.SPECIAL_USE, "Another mailbox has this special use")
        for parent in names.parents(name):
            if parent not in existing:
                self._state.add_mailbox(account, parent)
        head = self._state.head(account, self._state.add_mailbox(account, name, special_use))
        account.done[key] = head
        self._state.publish_tree(account)
        return head

    async def rename(self, account_id: AccountId, name: str, new_name: str, *, key: bytes) -> None:
        account = self._state.account(account_id)
        if key in account.done:
            return
        mailbox = self._state.by_name(account, name)
        new_name = names.canonical(new_name)
        existing = {m.name for m in account.mailboxes.values()}
        if new_name in existing:
            raise Refused(RefusedCode.MAILBOX_EXISTS, "Mailbox already exists")
        if names.is_child(new_name, mailbox.name) and mailbox.name != "INBOX":
            raise Refused(RefusedCode.BAD_NAME, "A mailbox can't become its own child")
        for parent in names.parents(new_name):
            if parent not in existing:
                self._state.add_mailbox(account, parent)
        if mailbox.name == "INBOX":
            self._state.check_annotations(account, octets(mailbox.annotations))
            target = self._state.add_mailbox(account, new_name)
            target.annotations = dict(mailbox.annotations)
            self._transfer(account, mailbox, target, list(mailbox.rows), move=True)
        else:
            old = mailbox.name
            for other in account.mailboxes.values():
                if other is mailbox or names.is_child(other.name, old):
                    other.name = new_name + other.name[len(old) :]
            account.tree_version += 1
        account.done[key] = True
        self._state.publish_tree(account)

    async def delete(self, account_id: AccountId, name: str, *, key: bytes) -> None:
        account = self._state.account(account_id)
        if key in account.done:
            return
        mailbox = self._state.by_name(account, name)
        if mailbox.name == "INBOX":
            raise Refused(RefusedCode.INBOX_FIXED, "INBOX can't be deleted")
        if any(names.is_child(m.name, mailbox.name) for m in account.mailboxes.values()):
            raise Refused(RefusedCode.HAS_CHILDREN, "Mailbox has children")
        del account.mailboxes[mailbox.mailbox_id]
        account.usage -= sum(row.size for row in mailbox.rows.values())
        account.tree_version += 1
        account.done[key] = True
        self._state.publish(account, mailbox, deleted=True)
        self._state.publish_tree(account)

    async def subscribe(self, account_id: AccountId, name: str, subscribed: bool, *, key: bytes) -> None:
        account = self._state.account(account_id)
        name = names.canonical(name)
        (account.subscribed.add if subscribed else account.subscribed.discard)(name)
        account.tree_version += 1
        self._state.publish_tree(account)

    async def annotate(
        self, account_id: AccountId, name: str, values: Mapping[str, bytes | None], *, key: bytes
    ) -> None:
        account = self._state.account(account_id)
        if key in account.done:
            return
        mailbox = self._state.by_name(account, name) if name else None
        owner = account if mailbox is None else mailbox
        rest, uses = split_use(values)
        new = changed(owner.annotations, rest)
        self._state.check_annotations(account, octets(new) - octets(owner.annotations))
        for value in uses:
            use = use_of(value)
            others = [m for m in account.mailboxes.values() if m is not mailbox and m.special_use is use]
            if mailbox is None or mailbox.name == "INBOX" or (use is not None and others):
                raise Refused(RefusedCode.SPECIAL_USE, "This mailbox can't have this special use")
            mailbox.special_use = use
            account.tree_version += 1
        owner.annotations = new
        account.done[key] = True

    async def append(
        self, account_id: AccountId, name: str, messages: Sequence[AppendMessage], *, key: bytes
    ) -> AppendResult:
        account = self._state.account(account_id)
        if isinstance(done := account.done.get(key), AppendResult):
            return replace(done, delta=blind(done.delta))
        mailbox = self._state.by_name(account, name)
        keywords = mailbox.with_keywords(flag for message in messages for flag in message.flags)
        self._state.check_quota(account, sum(len(m.content) for m in messages), len(messages))
        mailbox.keywords = keywords
        delta = self._state.add_rows(account, mailbox, [self._new_row(account, mailbox, each) for each in messages])
        result = AppendResult(mailbox.uid_validity, tuple(delta.changed.uids), delta)
        account.done[key] = result
        return result

    def _new_row(
        self, account: Account, mailbox: Mailbox, message: AppendMessage
    ) -> tuple[BodyId, list[int], int, int]:
        body_id = BodyId(uuid7())
        account.bodies[body_id] = message.content
        date = self._state.clock() if message.internal_date is None else message.internal_date
        return body_id, mailbox.words(message.flags), date, len(message.content)

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
        account, mailbox = self._state.mailbox(account_id, mailbox_id)
        if isinstance(done := account.done.get(key), StoreResult):
            return replace(done, delta=blind(done.delta))
        if mode is not FlagMode.REMOVE:
            mailbox.keywords = mailbox.with_keywords(flags)
        wanted = mailbox.words(flags)
        before = mailbox.modseq
        touched, modified = [], []
        for uid in sorted(set(uids) & mailbox.rows.keys()):
            row = mailbox.rows[uid]
            if unchanged_since is not None and row.modseq > unchanged_since:
                modified.append(uid)
                continue
            new = _apply(mode, row.words, wanted)
            if new != row.words:
                row.words = new
                row.modseq = before + 1
                touched.append(row)
        if touched:
            mailbox.modseq = before + 1
        result = StoreResult(self._state.delta(account, mailbox, before, touched), tuple(modified))
        account.done[key] = result
        return result

    async def expunge(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        uids: Sequence[int] | None,
        *,
        key: bytes,
        only_deleted: bool = True,
    ) -> Delta:
        account, mailbox = self._state.mailbox(account_id, mailbox_id)
        if isinstance(done := account.done.get(key), Delta):
            return blind(done)
        wanted = sorted(mailbox.rows if uids is None else set(uids) & mailbox.rows.keys())
        if only_deleted:
            wanted = [uid for uid in wanted if mailbox.rows[uid].words[0] & DELETED]
        delta = self._state.remove_rows(account, mailbox, wanted)
        account.done[key] = delta
        return delta

    async def copy(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        return self._copy_or_move(account_id, mailbox_id, uids, target, key, move=False)

    async def move(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        return self._copy_or_move(account_id, mailbox_id, uids, target, key, move=True)

    def _copy_or_move(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, key: bytes, *, move: bool
    ) -> CopyResult:
        account, source = self._state.mailbox(account_id, mailbox_id)
        if isinstance(done := account.done.get(key), CopyResult):
            return replace(done, target=blind(done.target), source=blind(done.source) if done.source else None)
        wanted = sorted(set(uids) & source.rows.keys())
        result = self._transfer(account, source, self._state.by_name(account, target), wanted, move=move)
        account.done[key] = result
        return result

    def _transfer(
        self, account: Account, source: Mailbox, target: Mailbox, uids: Sequence[int], *, move: bool
    ) -> CopyResult:
        rows = [source.rows[uid] for uid in uids]
        if not move:
            self._state.check_quota(account, sum(row.size for row in rows), len(rows))
        table = source.table()
        flags = [table.names(row.words) for row in rows]
        target.keywords = target.with_keywords(flag for row_flags in flags for flag in row_flags)
        removed = self._state.remove_rows(account, source, uids) if move else None
        if not rows:
            added = self._state.delta(account, target, target.modseq, ())
        else:
            new = [
                (row.body_id, target.words(f), row.internal_date, row.size) for row, f in zip(rows, flags, strict=True)
            ]
            added = self._state.add_rows(account, target, new)
        return CopyResult(target.uid_validity, tuple(uids), tuple(added.changed.uids), added, removed)

    async def replace(
        self, account_id: AccountId, mailbox_id: MailboxId, uid: int, target: str, message: AppendMessage, *, key: bytes
    ) -> ReplaceResult:
        account, source = self._state.mailbox(account_id, mailbox_id)
        if isinstance(done := account.done.get(key), ReplaceResult):
            return replace(done, target=blind(done.target), source=blind(done.source) if done.source else None)
        mailbox = self._state.by_name(account, target)
        if uid not in source.rows:
            raise Refused(RefusedCode.NO_MESSAGE, "Message is gone")
        keywords = mailbox.with_keywords(message.flags)
        if (more := len(message.content) - source.rows[uid].size) > 0:
            self._state.check_quota(account, more, 0)
        removed: Delta | None = self._state.remove_rows(account, source, [uid])
        mailbox.keywords = keywords
        added = self._state.add_rows(account, mailbox, [self._new_row(account, mailbox, message)])
        if source is mailbox and removed is not None:
            added = replace(added, modseq_before=removed.modseq_before, vanished=removed.vanished)
            removed = None
        result = ReplaceResult(mailbox.uid_validity, added.changed.uids[0], added, removed)
        account.done[key] = result
        return result

    async def claim_recent(self, account_id: AccountId, mailbox_id: MailboxId) -> int:
        _, mailbox = self._state.mailbox(account_id, mailbox_id)
        first, mailbox.first_recent = mailbox.first_recent, mailbox.uid_next
        return first

    async def lease_maildrop(self, account_id: AccountId, holder: str, seconds: int) -> MaildropLease:
        account = self._state.account(account_id)
        now = self._state.clock()
        if account.lease and account.lease[0].expires_at > now and account.lease[1] != holder:
            raise Refused(RefusedCode.IN_USE, "Maildrop is in use")
        lease = MaildropLease(uuid7(), now + seconds * 1000)
        account.lease = (lease, holder)
        return lease

    async def renew_maildrop(self, account_id: AccountId, token: bytes, seconds: int) -> MaildropLease:
        account = self._state.account(account_id)
        if account.lease is None or account.lease[0].token != token:
            raise Refused(RefusedCode.IN_USE, "Maildrop lease was lost")
        lease = MaildropLease(token, self._state.clock() + seconds * 1000)
        account.lease = (lease, account.lease[1])
        return lease

    async def release_maildrop(self, account_id: AccountId, token: bytes) -> None:
        account = self._state.account(account_id)
        if account.lease and account.lease[0].token == token:
            account.lease = None

    async def record_retrieved(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], *, key: bytes
    ) -> None:
        account, mailbox = self._state.mailbox(account_id, mailbox_id)
        if any(uid >= mailbox.uid_next for uid in uids):
            raise Refused(RefusedCode.INVALID, "A message that never was")
        record = account.retrieved.setdefault(mailbox_id, {})
        for uid in uids:
            record.setdefault(uid, self._state.clock())


def _apply(mode: FlagMode, words: Sequence[int], wanted: Sequence[int]) -> list[int]:
    if mode is FlagMode.ADD:
        return [a | b for a, b in zip(words, wanted, strict=True)]
    if mode is FlagMode.REMOVE:
        return [a & ~b for a, b in zip(words, wanted, strict=True)]
    return list(wanted)
