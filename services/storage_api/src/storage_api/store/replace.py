"""REPLACE: a message comes and the one it replaces goes, in one transaction (RFC 8508).

The old message leaves under a tombstone of its own, like an expunged one; the new one has a new UID, a new body and
the save date of now. Nothing of either is seen without the other.
"""

from __future__ import annotations

from array import array

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.columns import U32, pack_numbers, unpack
from mailboat_store_client.types import AccountId, AppendMessage, Delta, MailboxId, ReplaceResult

from ..db.driver import Document
from . import edit
from .bodies import PreparedBody
from .messages import new_rows
from .mutation import Mutation, blind_delta, delta_of
from .workspace import Needs, Workspace, pages_of


class Replace(Mutation[ReplaceResult]):
    """REPLACE of a message of `mailbox_id`; the new one's body is prepared; `target` names its mailbox (canonical)."""

    kind = "replace"

    def __init__(
        self,
        account_id: AccountId,
        key: bytes,
        mailbox_id: MailboxId,
        uid: int,
        *,
        target: str,
        message: AppendMessage,
        body: PreparedBody,
    ) -> None:
        super().__init__(account_id, key, body.transaction_bytes)
        self._mailbox_id = mailbox_id
        self._uids = edit.sorted_uids([uid])
        self._target = target
        self._message = message
        self._body = body

    def needs(self) -> Needs:
        needs = Needs(accounts={self.account_id}, mailboxes={self._mailbox_id})
        needs.name(self.account_id, self._target)
        return needs

    def prefetch(self, ws: Workspace) -> Needs | None:
        try:
            source = ws.mailbox(self.account_id, self._mailbox_id)
            target = ws.by_name(self.account_id, self._target)
        except Refused:
            return None
        needs = Needs(pages={source.mailbox_id: {ref.number for ref, _, _ in pages_of(source, self._uids)}})
        needs.pages.setdefault(target.mailbox_id, set()).update(edit.last_page_if_full(target, 1))
        return needs

    def apply(self, ws: Workspace) -> ReplaceResult:
        account = ws.account(self.account_id)
        source = ws.mailbox(self.account_id, self._mailbox_id)
        target = ws.by_name(self.account_id, self._target)
        found = ws.find(source, self._uids)
        if not found:
            raise Refused(RefusedCode.NO_MESSAGE, "Message is gone")
        more = self._body.size - sum(edit.rows_found(source, found).sizes)
        if more > 0:
            edit.check_quota(account, more, 0)
        source_before, target_before = source.highest_modseq, target.highest_modseq
        removed = edit.remove(ws, account, source, found, reason="replace")
        new = new_rows(ws, target, [self._message], [self._body])
        edit.add(ws, account, target, new)
        source_delta: Delta | None = None
        vanished: array[int] | None = removed.uids
        if source is not target:
            source_delta, vanished = delta_of(source, source_before, vanished=removed.uids), None
        delta = delta_of(target, target_before, new, vanished)
        return ReplaceResult(target.uid_validity, new.uids[0], delta, source_delta)

    def receipt(self, result: ReplaceResult) -> Document:
        return {
            "m": result.target.mailbox_id,
            "v": result.uid_validity,
            "u": pack_numbers(U32, [result.uid]),
        }

    def repeat(self, ws: Workspace, receipt: Document) -> ReplaceResult:
        source = None
        if receipt["m"] != self._mailbox_id:
            source = blind_delta(ws, self.account_id, self._mailbox_id)
        target = blind_delta(ws, self.account_id, receipt["m"])
        return ReplaceResult(receipt["v"], unpack(U32, receipt["u"])[0], target, source)
