"""The MailboxWrite port on MongoDB: arguments are checked and bodies prepared here, then the committer does the rest.

STORE and MOVE over more than 1,000 pages' worth of messages are split, each part a transaction with a modseq of its own
(store.md, rule 15); a part's key is derived from the caller's, so a repeat continues where the first call ended.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from mailboat_common import crash
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client import names
from mailboat_store_client.columns import U32, unpack
from mailboat_store_client.types import (
    AccountId,
    AppendMessage,
    AppendResult,
    Columns,
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

from ..db import schema
from ..db.driver import Database
from . import maildrop, recent
from . import rows as columns_of
from .annotations import Annotate
from .bodies import Bodies
from .committer import Committer
from .edit import sorted_uids
from .failures import guarded
from .mailboxes import Create, Delete, Rename, Subscribe
from .messages import Append, Expunge, StoreFlags
from .pages import PAGE_ROWS
from .replace import Replace
from .retrieved import Retrieved
from .transfer import Copy, Move, Undelete

PART_UIDS = 1000 * PAGE_ROWS


class MongoMailboxWrite:
    """Mutations of one database."""

    def __init__(self, db: Database, committer: Committer, bodies: Bodies) -> None:
        self._db = db
        self._committer = committer
        self._bodies = bodies

    @guarded
    async def create(
        self, account_id: AccountId, name: str, *, key: bytes, special_use: SpecialUse | None = None
    ) -> MailboxHead:
        """Create a mailbox and its missing parents."""
        return await self._committer.submit(Create(account_id, key, name, special_use))

    @guarded
    async def rename(self, account_id: AccountId, name: str, new_name: str, *, key: bytes) -> None:
        """Rename with all children; INBOX stays and gives its messages away."""
        await self._committer.submit(Rename(account_id, key, name, new_name))

    @guarded
    async def delete(self, account_id: AccountId, name: str, *, key: bytes) -> None:
        """Delete a mailbox; its name is free at once."""
        await self._committer.submit(Delete(account_id, key, name))

    @guarded
    async def subscribe(self, account_id: AccountId, name: str, subscribed: bool, *, key: bytes) -> None:
        """Add or remove a name of the subscription list."""
        await self._committer.submit(Subscribe(account_id, key, name, subscribed))

    @guarded
    async def annotate(
        self, account_id: AccountId, name: str, values: Mapping[str, bytes | None], *, key: bytes
    ) -> None:
        """Set or remove annotations, all or none."""
        await self._committer.submit(Annotate(account_id, key, name, values))

    @guarded
    async def append(
        self, account_id: AccountId, name: str, messages: Sequence[AppendMessage], *, key: bytes
    ) -> AppendResult:
        """Append all or nothing."""
        if not messages:
            raise Refused(RefusedCode.INVALID, "No message to append")
        name = names.canonical(name)
        bodies = [await self._bodies.prepare(account_id, message.content) for message in messages]
        crash.point("append.prepared")
        return await self._committer.submit(Append(account_id, key, name, messages, bodies))

    @guarded
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
        """Change flags of the UIDs that exist."""
        results = [
            await self._committer.submit(
                StoreFlags(
                    account_id, part_key, mailbox_id, part, mode=mode, flags=flags, unchanged_since=unchanged_since
                )
            )
            for part_key, part in _parts(key, sorted_uids(uids))
        ]
        if len(results) == 1:
            return results[0]
        modified = tuple(uid for result in results for uid in result.modified)
        return StoreResult(_merged([result.delta for result in results]), modified)

    @guarded
    async def expunge(
        self,
        account_id: AccountId,
        mailbox_id: MailboxId,
        uids: Sequence[int] | None,
        *,
        key: bytes,
        only_deleted: bool = True,
    ) -> Delta:
        """Remove messages with \\Deleted, or all of `uids` with only_deleted=False."""
        chosen = None if uids is None else sorted_uids(uids)
        return await self._committer.submit(Expunge(account_id, key, mailbox_id, chosen, only_deleted))

    @guarded
    async def copy(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        """Copy in one transaction, whatever its size."""
        return await self._committer.submit(
            Copy(account_id, key, mailbox_id, sorted_uids(uids), names.canonical(target))
        )

    @guarded
    async def move(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        """Move; up to 1,000 pages' worth in one transaction over both mailboxes."""
        name = names.canonical(target)
        results = [
            await self._committer.submit(Move(account_id, part_key, mailbox_id, part, name))
            for part_key, part in _parts(key, sorted_uids(uids))
        ]
        if len(results) == 1:
            return results[0]
        return CopyResult(
            results[0].uid_validity,
            tuple(uid for result in results for uid in result.source_uids),
            tuple(uid for result in results for uid in result.target_uids),
            _merged([result.target for result in results]),
            _merged([result.source for result in results if result.source is not None]),
        )

    @guarded
    async def replace(
        self, account_id: AccountId, mailbox_id: MailboxId, uid: int, target: str, message: AppendMessage, *, key: bytes
    ) -> ReplaceResult:
        """Append a message and remove the one it replaces, in one transaction."""
        body = await self._bodies.prepare(account_id, message.content)
        crash.point("replace.prepared")
        name = names.canonical(target)
        return await self._committer.submit(
            Replace(account_id, key, mailbox_id, uid, target=name, message=message, body=body)
        )

    @guarded
    async def undelete(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], target: str, *, key: bytes
    ) -> CopyResult:
        """Restore removed messages (UIDs they had in `mailbox_id`) into `target`, while their tombstones last."""
        chosen = sorted_uids(uids)
        wanted = set(chosen)
        tombstones = []
        query = {"a": account_id, "m": mailbox_id}
        async for document in self._db[schema.VANISHED].iterate(query, {"u": 1}):
            if not wanted.isdisjoint(unpack(U32, document["u"])):
                tombstones.append(document["_id"])
        return await self._committer.submit(
            Undelete(account_id, key, mailbox_id, chosen, target=names.canonical(target), tombstones=tombstones)
        )

    @guarded
    async def claim_recent(self, account_id: AccountId, mailbox_id: MailboxId) -> int:
        """SELECT's claim of what is \\Recent."""
        document = await self._db[schema.MAILBOXES].find_one(
            {"_id": mailbox_id}, {"uid_next": 1, "a": 1, "deleted_at": 1}
        )
        if document is None or document["a"] != account_id or document.get("deleted_at") is not None:
            raise Refused(RefusedCode.NO_MAILBOX, "Mailbox doesn't exist")
        return await recent.claim(self._db, account_id, mailbox_id, document["uid_next"])

    @guarded
    async def lease_maildrop(self, account_id: AccountId, holder: str, seconds: int) -> MaildropLease:
        """POP3's exclusive lease."""
        return await maildrop.take(self._db, account_id, holder, seconds)

    @guarded
    async def renew_maildrop(self, account_id: AccountId, token: bytes, seconds: int) -> MaildropLease:
        """Prolong it."""
        return await maildrop.renew(self._db, account_id, token, seconds)

    @guarded
    async def release_maildrop(self, account_id: AccountId, token: bytes) -> None:
        """Give it back."""
        await maildrop.release(self._db, account_id, token)

    @guarded
    async def record_retrieved(
        self, account_id: AccountId, mailbox_id: MailboxId, uids: Sequence[int], *, key: bytes
    ) -> None:
        """Their days begin, unless they had begun before."""
        await self._committer.submit(Retrieved(account_id, key, mailbox_id, sorted_uids(uids)))


def _parts(key: bytes, uids: array[int]) -> Iterator[tuple[bytes, array[int]]]:
    """(key, UIDs) of each transaction a large mutation takes; the first has the caller's key."""
    yield key, uids[:PART_UIDS]
    for start in range(PART_UIDS, len(uids), PART_UIDS):
        derived = hashlib.sha256(key + start.to_bytes(4, "big")).digest()[:16]
        yield derived, uids[start : start + PART_UIDS]


def _merged(deltas: Sequence[Delta]) -> Delta:
    """One delta of several; if another mutation came between, or one is a repeat's, no view may apply it."""
    last = deltas[-1]
    if any(a.modseq_after != b.modseq_before for a, b in pairwise(deltas)):
        return Delta(last.mailbox_id, 0, last.modseq_after, last.uid_next, last.flag_table, Columns(), array("I"))
    vanished: array[int] = array("I")
    for delta in deltas:
        vanished.extend(delta.vanished)
    return Delta(
        last.mailbox_id,
        deltas[0].modseq_before,
        last.modseq_after,
        last.uid_next,
        last.flag_table,
        columns_of.joined([delta.changed for delta in deltas]),
        vanished,
    )
