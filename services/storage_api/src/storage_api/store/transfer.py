"""COPY, MOVE and undelete: entries that come to a mailbox with bodies that are there already.

RFC 9051 6.4.7, RFC 6851, RFC 4315 (COPYUID). One transaction over both mailboxes; keywords are mapped by name, dates
kept but for the save date. Body ids are read from living rows or tombstones in the same transaction, and a body that
garbage collection has marked is unmarked with it (store.md, rule 10).
"""

from __future__ import annotations

from array import array

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.columns import I64, U32, U64, pack, pack_numbers, unpack
from mailboat_store_client.types import AccountId, Columns, CopyResult, Delta, MailboxId

from ..db import schema
from ..db.driver import Document, UpdateOne
from . import edit
from . import rows as columns_of
from .gc_report import RESTORABLE
from .mutation import Mutation, blind_delta, delta_of
from .state import AccountState, MailboxState
from .workspace import Needs, Workspace, pages_of


class Transfer(Mutation[CopyResult]):
    """COPY or MOVE of the UIDs that exist to the mailbox named `target` (canonical)."""

    def __init__(self, account_id: AccountId, key: bytes, mailbox_id: MailboxId, uids: array[int], target: str) -> None:
        super().__init__(account_id, key)
        self._mailbox_id = mailbox_id
        self._uids = uids
        self._target = target

    @property
    def _moves(self) -> bool:
        return self.kind == "move"

    def needs(self) -> Needs:
        needs = Needs(accounts={self.account_id}, mailboxes={self._mailbox_id}, marked={self.account_id})
        needs.name(self.account_id, self._target)
        return needs

    def prefetch(self, ws: Workspace) -> Needs | None:
        try:
            source = ws.mailbox(self.account_id, self._mailbox_id)
            target = ws.by_name(self.account_id, self._target)
        except Refused:
            return None
        needs = Needs(pages={source.mailbox_id: {ref.number for ref, _, _ in pages_of(source, self._uids)}})
        needs.pages.setdefault(target.mailbox_id, set()).update(edit.last_page_if_full(target, len(self._uids)))
        return needs

    def apply(self, ws: Workspace) -> CopyResult:
        account = ws.account(self.account_id)
        source = ws.mailbox(self.account_id, self._mailbox_id)
        target = ws.by_name(self.account_id, self._target)
        return transfer(ws, account, source, target, self._uids, move=self._moves)

    def receipt(self, result: CopyResult) -> Document:
        return _receipt(result)

    def repeat(self, ws: Workspace, receipt: Document) -> CopyResult:
        return CopyResult(
            receipt["v"],
            tuple(unpack(U32, receipt["s"])),
            tuple(unpack(U32, receipt["u"])),
            blind_delta(ws, self.account_id, receipt["m"]),
            blind_delta(ws, self.account_id, self._mailbox_id) if self._moves else None,
        )


class Copy(Transfer):
    """COPY."""

    kind = "copy"


class Move(Transfer):
    """MOVE."""

    kind = "move"


def transfer(
    ws: Workspace,
    account: AccountState,
    source: MailboxState,
    target: MailboxState,
    uids: array[int] | None,
    *,
    move: bool,
) -> CopyResult:
    """Copy or move rows (None: all). Refused OVER_QUOTA (copies only), LIMIT."""
    found = ws.find(source, uids)
    if not found:
        unchanged = delta_of(source, source.highest_modseq) if move else None
        return CopyResult(target.uid_validity, (), (), delta_of(target, target.highest_modseq), unchanged)
    new = edit.rows_found(source, found)
    source_uids = new.uids
    if not move:
        edit.check_quota(account, sum(new.sizes), len(new))
    edit.map_keywords(ws, source, target, new)
    first = edit.take_uids(ws, target, len(source_uids))
    new.uids = array(U32, range(first, first + len(source_uids)))
    source_delta: Delta | None = None
    if move:
        before = source.highest_modseq
        moved_to = edit.MoveTarget(target.mailbox_id, new.uids)
        edit.remove(ws, account, source, found, reason="move", target=moved_to)
        source_delta = delta_of(source, before, vanished=source_uids)
    before = target.highest_modseq
    place(ws, account, target, new)
    return CopyResult(
        target.uid_validity, tuple(source_uids), tuple(new.uids), delta_of(target, before, new), source_delta
    )


def place(ws: Workspace, account: AccountState, target: MailboxState, new: Columns) -> None:
    """Add rows whose bodies are there already (UIDs given), under a new modseq."""
    count = len(new.uids)
    new.modseqs = array(U64, [edit.next_modseq(ws, target)]) * count
    new.save_dates = array(I64, [ws.now]) * count
    edit.add(ws, account, target, new)
    if marked := ws.marked_of(account.account_id):
        for row in range(count):
            body_id = new.body_id(row)
            if body_id in marked:
                query = {"_id": body_id, "a": account.account_id}
                ws.operate(schema.BODIES, body_id, UpdateOne(query, {"$unset": {"dead_since": ""}}))


class Undelete(Mutation[CopyResult]):
    """Bring removed messages back from their tombstones, as new messages of `target`.

    `tombstones` are the `_id`s of the mailbox's `vanished` documents that may hold the UIDs. What was restored before,
    moved elsewhere or removed too long ago, isn't restored. Refused OVER_QUOTA, LIMIT, NO_MAILBOX.
    """

    kind = "undelete"

    def __init__(
        self,
        account_id: AccountId,
        key: bytes,
        mailbox_id: MailboxId,
        uids: array[int],
        *,
        target: str,
        tombstones: list[bytes],
    ) -> None:
        super().__init__(account_id, key)
        self._mailbox_id = mailbox_id
        self._uids = uids
        self._target = target
        self._tombstones = tombstones

    def needs(self) -> Needs:
        return Needs(
            accounts={self.account_id},
            inboxes={self.account_id},
            mailboxes={self._mailbox_id},
            named=set() if self._target == "INBOX" else {(self.account_id, self._target)},
            marked={self.account_id},
            documents={schema.VANISHED: set(self._tombstones)},
        )

    def apply(self, ws: Workspace) -> CopyResult:
        account = ws.account(self.account_id)
        target = ws.by_name(self.account_id, self._target)
        source = ws.mailboxes.get(self._mailbox_id)
        if source is None or source.account_id != self.account_id:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        wanted = set(self._uids)
        pieces = [self._restore(ws, document_id, wanted) for document_id in sorted(self._tombstones)]
        new = columns_of.joined([piece for piece in pieces if len(piece)])
        before = target.highest_modseq
        source_uids = tuple(new.uids)
        if not source_uids:
            return CopyResult(target.uid_validity, (), (), delta_of(target, before))
        edit.check_quota(account, sum(new.sizes), len(new))
        edit.map_keywords(ws, source, target, new)
        first = edit.take_uids(ws, target, len(source_uids))
        new.uids = array(U32, range(first, first + len(source_uids)))
        place(ws, account, target, new)
        return CopyResult(target.uid_validity, source_uids, tuple(new.uids), delta_of(target, before, new))

    def _restore(self, ws: Workspace, document_id: bytes, wanted: set[int]) -> Columns:
        """The wanted rows of one tombstone, now marked as restored in it."""
        document = ws.document(schema.VANISHED, document_id)
        if document is None or document["a"] != self.account_id or document["reason"] == "move":
            return columns_of.empty()
        if document["at"] <= ws.now - RESTORABLE:
            return columns_of.empty()  # its bodies may be collected already
        before = document.get("restored", b"")
        restored = set(unpack(U32, before))
        uids = unpack(U32, document["u"])
        chosen = [row for row, uid in enumerate(uids) if uid in wanted and uid not in restored]
        if not chosen:
            return columns_of.empty()
        dead = Columns(
            uids,
            array(U64, bytes(8 * len(uids))),
            [unpack(U64, word) for word in document["f"]],
            document["b"],
            unpack(I64, document["i"]),
            unpack(I64, document["s"]),
            unpack(U32, document["z"]),
        )
        now = pack(array(U32, sorted(restored | {uids[row] for row in chosen})))
        document["restored"] = now
        ws.on_rollback(lambda: document.update(restored=before))
        query = {"_id": document_id, "a": self.account_id}
        ws.operate(schema.VANISHED, document_id, UpdateOne(query, {"$set": {"restored": now}}))
        return columns_of.pick(dead, chosen)

    def receipt(self, result: CopyResult) -> Document:
        return _receipt(result)

    def repeat(self, ws: Workspace, receipt: Document) -> CopyResult:
        return CopyResult(
            receipt["v"],
            tuple(unpack(U32, receipt["s"])),
            tuple(unpack(U32, receipt["u"])),
            blind_delta(ws, self.account_id, receipt["m"]),
        )


def _receipt(result: CopyResult) -> Document:
    """What a repeat of COPY, MOVE or undelete is answered from."""
    return {
        "m": result.target.mailbox_id,
        "v": result.uid_validity,
        "s": pack_numbers(U32, result.source_uids),
        "u": pack_numbers(U32, result.target_uids),
    }
