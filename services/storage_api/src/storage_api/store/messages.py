"""Mutations of messages in one mailbox: append, flags, expunge.

RFC 9051 6.3.12 (APPEND), 6.4.6 (STORE), 6.4.3 (EXPUNGE); RFC 7162 3.1.3 (UNCHANGEDSINCE); RFC 4315 (UID EXPUNGE).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.columns import U32, pack_numbers, unpack
from mailboat_store_client.types import (
    DEAD,
    DELETED,
    SEEN,
    AccountId,
    AppendMessage,
    AppendResult,
    Columns,
    Delta,
    FlagMode,
    MailboxId,
    StoreResult,
)

from ..db import schema
from ..db.driver import Document
from . import edit
from . import rows as columns_of
from .bodies import PreparedBody
from .mutation import Mutation, blind_delta, delta_of
from .state import MailboxState
from .workspace import Found, Needs, Workspace, pages_of


class Append(Mutation[AppendResult]):
    """APPEND of messages whose bodies are prepared: everything larger than a transaction is durable already."""

    kind = "append"

    def __init__(
        self,
        account_id: AccountId,
        key: bytes,
        name: str,
        messages: Sequence[AppendMessage],
        bodies: Sequence[PreparedBody],
    ) -> None:
        super().__init__(account_id, key, sum(body.transaction_bytes for body in bodies))
        self._name = name
        self._messages = messages
        self._bodies = bodies

    def needs(self) -> Needs:
        needs = Needs(accounts={self.account_id})
        needs.name(self.account_id, self._name)
        return needs

    def prefetch(self, ws: Workspace) -> Needs | None:
        try:
            mailbox = ws.by_name(self.account_id, self._name)
        except Refused:
            return None
        return Needs(pages={mailbox.mailbox_id: edit.last_page_if_full(mailbox, len(self._messages))})

    def apply(self, ws: Workspace) -> AppendResult:
        account = ws.account(self.account_id)
        mailbox = ws.by_name(self.account_id, self._name)
        edit.check_quota(account, sum(body.size for body in self._bodies), len(self._bodies))
        before = mailbox.highest_modseq
        new = new_rows(ws, mailbox, self._messages, self._bodies)
        edit.add(ws, account, mailbox, new)
        return AppendResult(mailbox.uid_validity, tuple(new.uids), delta_of(mailbox, before, new))

    def receipt(self, result: AppendResult) -> Document:
        return {
            "m": result.delta.mailbox_id,
            "v": result.uid_validity,
            "u": pack_numbers(U32, result.uids),
        }

    def repeat(self, ws: Workspace, receipt: Document) -> AppendResult:
        delta = blind_delta(ws, self.account_id, receipt["m"])
        return AppendResult(receipt["v"], tuple(unpack(U32, receipt["u"])), delta)


def new_rows(
    ws: Workspace, mailbox: MailboxState, messages: Sequence[AppendMessage], bodies: Sequence[PreparedBody]
) -> Columns:
    """Rows for new messages, with UIDs, flags and one new modseq, and their bodies; `edit.add` puts them in.

    Refused LIMIT, INVALID (flags).
    """
    words = [edit.flag_words(ws, mailbox, message.flags, grow=True) for message in messages]
    modseq = edit.next_modseq(ws, mailbox)
    uid = edit.take_uids(ws, mailbox, len(messages))
    new = columns_of.empty()
    for message, body, flags in zip(messages, bodies, words, strict=True):
        columns_of.add(
            new,
            uid=uid,
            modseq=modseq,
            words=flags,
            body_id=body.body_id,
            internal_date=ws.now if message.internal_date is None else message.internal_date,
            save_date=ws.now,
            size=body.size,
        )
        uid += 1
        ws.insert(schema.BODIES, body.document)
    return new


class StoreFlags(Mutation[StoreResult]):
    """STORE: rows whose flags were already so keep their modseq."""

    kind = "store"

    def __init__(
        self,
        account_id: AccountId,
        key: bytes,
        mailbox_id: MailboxId,
        uids: array[int],
        *,
        mode: FlagMode,
        flags: Sequence[str],
        unchanged_since: int | None,
    ) -> None:
        super().__init__(account_id, key)
        self._mailbox_id = mailbox_id
        self._uids = uids
        self._mode = mode
        self._flags = flags
        self._unchanged_since = unchanged_since

    def needs(self) -> Needs:
        return Needs(accounts={self.account_id}, mailboxes={self._mailbox_id})

    def prefetch(self, ws: Workspace) -> Needs | None:
        return needed_pages(ws, self.account_id, self._mailbox_id, self._uids)

    def apply(self, ws: Workspace) -> StoreResult:
        ws.account(self.account_id)
        mailbox = ws.mailbox(self.account_id, self._mailbox_id)
        found, modified = self._eligible(ws, mailbox)
        before = mailbox.highest_modseq
        if not found:
            return StoreResult(delta_of(mailbox, before), modified)
        words = edit.flag_words(ws, mailbox, self._flags, grow=self._mode is not FlagMode.REMOVE)
        changed: list[Columns] = []
        for piece in found:
            columns = piece.page.columns if piece.page else mailbox.tail
            plan = new_words(columns, piece.rows, self._mode, words)
            if not plan:
                continue
            if not changed:
                edit.next_modseq(ws, mailbox)
            ws.touch(mailbox)
            if piece.page is not None:
                ws.touch(piece.page)
                piece.page.mutable_changed = True
                piece.page.max_modseq = mailbox.highest_modseq
            self._write(mailbox, columns, plan)
            changed.append(columns_of.pick(columns, [row for row, _ in plan]))
        if changed:
            ws.tell(mailbox)
        return StoreResult(delta_of(mailbox, before, columns_of.joined(changed)), modified)

    def _eligible(self, ws: Workspace, mailbox: MailboxState) -> tuple[list[Found], tuple[int, ...]]:
        """The rows to change, and the UIDs left alone because of UNCHANGEDSINCE."""
        found = ws.find(mailbox, self._uids)
        limit = self._unchanged_since
        if limit is None:
            return found, ()
        modified: list[int] = []
        out = []
        for piece in found:
            columns = piece.page.columns if piece.page else mailbox.tail
            modified += [columns.uids[row] for row in piece.rows if columns.modseqs[row] > limit]
            if rows := [row for row in piece.rows if columns.modseqs[row] <= limit]:
                out.append(Found(piece.page, rows))
        return out, tuple(modified)

    @staticmethod
    def _write(mailbox: MailboxState, columns: Columns, plan: list[tuple[int, list[int]]]) -> None:
        columns_of.widen(columns, len(plan[0][1]))
        first, modseq = columns.flags[0], mailbox.highest_modseq
        for row, words in plan:
            old = first[row]
            mailbox.unseen += bool(old & SEEN) - bool(words[0] & SEEN)
            mailbox.deleted += bool(words[0] & DELETED) - bool(old & DELETED)
            for word, column in enumerate(columns.flags):
                column[row] = words[word]
            columns.modseqs[row] = modseq

    def receipt(self, result: StoreResult) -> Document:
        return {"m": result.delta.mailbox_id, "modified": pack_numbers(U32, result.modified)}

    def repeat(self, ws: Workspace, receipt: Document) -> StoreResult:
        delta = blind_delta(ws, self.account_id, receipt["m"])
        return StoreResult(delta, tuple(unpack(U32, receipt["modified"])))


def new_words(
    columns: Columns, rows: Sequence[int], mode: FlagMode, wanted: Sequence[int]
) -> list[tuple[int, list[int]]]:
    """(row, new flag words) of the rows that change; all rows get the same number of words."""
    count = max(len(wanted), len(columns.flags))
    given = [*wanted, *[0] * (count - len(wanted))]
    out = []
    flags = columns.flags
    if count == 1:
        mask, column = given[0], flags[0]
        for row in rows:
            old = column[row]
            if mode is FlagMode.ADD:
                new = old | mask
            elif mode is FlagMode.REMOVE:
                new = old & ~mask
            else:
                new = mask | (old & DEAD)
            if new != old:
                out.append((row, [new]))
        return out
    for row in rows:
        before = [flags[word][row] if word < len(flags) else 0 for word in range(count)]
        if mode is FlagMode.ADD:
            after = [old | mask for old, mask in zip(before, given, strict=True)]
        elif mode is FlagMode.REMOVE:
            after = [old & ~mask for old, mask in zip(before, given, strict=True)]
        else:
            after = list(given)
            after[0] |= before[0] & DEAD
        if after != before:
            out.append((row, after))
    return out


class Expunge(Mutation[Delta]):
    """EXPUNGE: of the UIDs (None: all) those with \\Deleted, or all of them."""

    kind = "expunge"

    def __init__(
        self, account_id: AccountId, key: bytes, mailbox_id: MailboxId, uids: array[int] | None, only_deleted: bool
    ) -> None:
        super().__init__(account_id, key)
        self._mailbox_id = mailbox_id
        self._uids = uids
        self._only_deleted = only_deleted

    def needs(self) -> Needs:
        return Needs(accounts={self.account_id}, mailboxes={self._mailbox_id})

    def prefetch(self, ws: Workspace) -> Needs | None:
        mailbox = ws.mailboxes[self._mailbox_id]
        if mailbox is None or (self._only_deleted and not mailbox.deleted):
            return None
        return needed_pages(ws, self.account_id, self._mailbox_id, self._uids)

    def apply(self, ws: Workspace) -> Delta:
        account = ws.account(self.account_id)
        mailbox = ws.mailbox(self.account_id, self._mailbox_id)
        before = mailbox.highest_modseq
        if self._only_deleted and not mailbox.deleted:
            return delta_of(mailbox, before)
        found = ws.find(mailbox, self._uids)
        if self._only_deleted:
            found = [piece for piece in (_deleted_of(mailbox, piece) for piece in found) if piece.rows]
        if not found:
            return delta_of(mailbox, before)
        removed = edit.remove(ws, account, mailbox, found, reason="expunge" if self._only_deleted else "removed")
        return delta_of(mailbox, before, vanished=removed.uids)

    def receipt(self, result: Delta) -> Document:
        return {"m": result.mailbox_id, "u": pack_numbers(U32, result.vanished)}

    def repeat(self, ws: Workspace, receipt: Document) -> Delta:
        return blind_delta(ws, self.account_id, receipt["m"])


def _deleted_of(mailbox: MailboxState, piece: Found) -> Found:
    flags = (piece.page.columns if piece.page else mailbox.tail).flags[0]
    return Found(piece.page, [row for row in piece.rows if flags[row] & DELETED])


def needed_pages(ws: Workspace, account_id: AccountId, mailbox_id: MailboxId, uids: array[int] | None) -> Needs | None:
    """The pages that hold these UIDs, if the mailbox is there."""
    try:
        mailbox = ws.mailbox(account_id, mailbox_id)
    except Refused as refused:
        if refused.code is not RefusedCode.NO_MAILBOX:
            raise
        return None
    return Needs(pages={mailbox_id: {ref.number for ref, _, _ in pages_of(mailbox, uids)}})
