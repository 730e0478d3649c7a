"""Compaction and merge: pages over half dead are rewritten without their dead rows, small neighbours become one page.

One transaction that touches the mailbox's document, so it serialises with every mutation, and changes no modseq, so no
view notices (store.md, rule 9). A rewritten group keeps the number of its first page: pages stay sorted by `_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mailboat_common.errors import Refused
from mailboat_common.log import get_logger
from mailboat_store_client.types import AccountId, MailboxId

from ..db import schema
from ..db.driver import Database, Document
from . import rows as columns_of
from .committer import Committer
from .failures import guarded
from .mutation import Mutation
from .pages import PAGE_ROWS, PageRef, living
from .state import MailboxState
from .workspace import Needs, Workspace

log = get_logger(__name__)

MAX_PAGES = 400  # rewritten in one transaction


def groups(directory: Sequence[PageRef]) -> list[list[int]]:
    """Positions of pages to rewrite, group by group: each becomes one page, or none if nothing in it lives.

    A page over half dead is rewritten; it takes neighbours along as long as all fits into one page. A page in which
    nothing lives just goes.
    """
    out: list[list[int]] = []
    position = 0
    while position < len(directory):
        group = [position]
        alive = directory[position].rows - directory[position].dead
        heavy = _half_dead(directory[position])
        while position + 1 < len(directory):
            following = directory[position + 1]
            coming = following.rows - following.dead
            fits = alive > 0 and coming > 0 and alive + coming <= PAGE_ROWS
            if not fits or not (heavy or _half_dead(following)):
                break
            position += 1
            group.append(position)
            alive += coming
            heavy = True
        if heavy:
            out.append(group)
        position += 1
    return out


def _half_dead(ref: PageRef) -> bool:
    return ref.dead * 2 > ref.rows


class Compact(Mutation[int]):
    """Compact one mailbox; the result is the number of dead rows that went."""

    kind = "compaction"

    def __init__(self, account_id: AccountId, mailbox_id: MailboxId) -> None:
        super().__init__(account_id, None)
        self._mailbox_id = mailbox_id

    def needs(self) -> Needs:
        return Needs(mailboxes={self._mailbox_id})

    def prefetch(self, ws: Workspace) -> Needs | None:
        mailbox = ws.mailboxes[self._mailbox_id]
        if mailbox is None:
            return None
        chosen = _limited(groups(mailbox.directory))
        return Needs(
            pages={self._mailbox_id: {mailbox.directory[position].number for group in chosen for position in group}}
        )

    def apply(self, ws: Workspace) -> int:
        mailbox = ws.mailbox(self.account_id, self._mailbox_id)
        everything = groups(mailbox.directory)
        chosen = _limited(everything)
        ws.need_pages(mailbox, [mailbox.directory[position].number for group in chosen for position in group])
        ws.touch(mailbox)
        gone = 0
        replaced: dict[int, PageRef | None] = {}
        for group in chosen:
            gone += sum(mailbox.directory[position].dead for position in group)
            replaced.update(dict.fromkeys(group))
            replaced[group[0]] = self._rewrite(ws, mailbox, group)
        directory = [replaced.get(position, ref) for position, ref in enumerate(mailbox.directory)]
        mailbox.directory = [ref for ref in directory if ref is not None]
        assert all(a.first_uid < b.first_uid and a.number < b.number for a, b in pairwise(mailbox.directory))
        if len(chosen) == len(everything):
            mailbox.compact_at = None
        return gone

    @staticmethod
    def _rewrite(ws: Workspace, mailbox: MailboxState, group: list[int]) -> PageRef | None:
        """Put the living rows of a group into its first page; the others go."""
        pages = [mailbox.pages[mailbox.directory[position].number] for position in group]
        rows = columns_of.joined([columns_of.pick(page.columns, living(page.columns)) for page in pages])
        for page in pages:
            ws.touch(page)
            page.removed = True
        if not rows.uids:
            return None
        first = pages[0]
        first.removed = False
        first.columns = rows
        first.max_modseq = max(rows.modseqs)
        first.immutable_changed = first.mutable_changed = True
        return PageRef(first.number, rows.uids[0], len(rows.uids), 0)

    def receipt(self, result: int) -> Document:
        return {"gone": result}

    def repeat(self, ws: Workspace, receipt: Document) -> int:
        gone: int = receipt["gone"]
        return gone


def _limited(all_groups: list[list[int]]) -> list[list[int]]:
    """As many groups as one transaction may rewrite."""
    out: list[list[int]] = []
    pages = 0
    for group in all_groups:
        pages += len(group)
        if out and pages > MAX_PAGES:
            break
        out.append(group)
    return out


@guarded
async def compact_due(db: Database, committer: Committer, now: int, *, limit: int = 100) -> int:
    """Compact up to `limit` mailboxes whose pages were over half dead before `now`; for the worker role.

    Safe with several workers at once. Returns the number of dead rows that went.
    """
    due = await db[schema.MAILBOXES].find({"compact_at": {"$lte": now}}, {"a": 1}, limit=limit)
    gone = 0
    for document in due:
        try:
            gone += await committer.submit(Compact(AccountId(document["a"]), MailboxId(document["_id"])))
        except Refused as refused:
            log.info("A mailbox was gone before its compaction", refused=str(refused))
    return gone
