"""Collecting bodies (store.md, rule 10).

An account is swept when something was removed in it: the body ids of all rows on pages and tails and of tombstones
that can still be restored are read in one snapshot, with them the ids of its bodies. A body nobody names gets
`dead_since`; a day later another snapshot decides again: referenced, it is revived, else it is deleted on condition
that `dead_since` is still what that snapshot saw. A transaction that uses a marked body again unsets the mark itself,
so it either comes first (the condition fails) or conflicts with the deletion and then finds the body gone. A mark set
in the moment of a new use harms nothing: the second look revives it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

from mailboat_common import crash
from mailboat_store_client.columns import U64, unpack
from mailboat_store_client.types import DEAD, AccountId, MailboxId

from ..db import schema
from ..db.driver import Database, Document, Session, UpdateOne
from .gc_report import GcReport, Limits, Retention
from .pages import IMMUTABLE, page_id_range, split_page_id, unpack_tail

_OVERLAP = 600_000  # ms; removals carry their writer's clock and commit later
_BATCH = 1000


async def note_removals(db: Database, retention: Retention, _limits: Limits, now: int) -> GcReport:
    """Put accounts with new removals on the list; each is due when what was removed can no longer be restored."""
    gc = db[schema.GC]
    state = await gc.find_one({"_id": "removals"})
    since = state["at"] if state else 0
    query = {"removals_at": {"$gte": since - _OVERLAP}}
    found = db[schema.ACCOUNTS].iterate(query, {"removals_at": 1}, batch_size=_BATCH)
    async for batch in _batches(found):
        await gc.bulk_write(
            [_note(d["_id"], d["removals_at"], d["removals_at"] + retention.restorable) for d in batch], ordered=False
        )
    await gc.update_one({"_id": "removals"}, {"$max": {"at": now}}, upsert=True)
    return GcReport()


def _note(account_id: AccountId, noted: int, due: int) -> UpdateOne:
    update = {"$setOnInsert": {"a": account_id}, "$max": {"noted": noted}, "$min": {"due": due}}
    return UpdateOne({"_id": account_id}, update, upsert=True)


async def note(db: Database, account_id: AccountId, now: int, due: int) -> None:
    """Have an account swept at `due` at the latest."""
    await db[schema.GC].bulk_write([_note(account_id, now, due)])


async def sweep_due(db: Database, retention: Retention, limits: Limits, now: int) -> GcReport:
    """Sweep the accounts that are due, longest overdue first."""
    report = GcReport()
    waiting = await db[schema.GC].find({"due": {"$lte": now}}, sort=[("due", 1)], limit=limits.accounts)
    for entry in waiting:
        account_id = AccountId(entry["_id"])
        judged = await judge(db, account_id, now - retention.restorable, now - retention.grace)
        report = report + await _apply(db, account_id, judged, now)
        due = judged.next_due(retention, now)
        # Noted again since we read it: it stays due and the next round looks at it with a younger snapshot.
        seen = {"_id": entry["_id"], "noted": entry["noted"], "due": entry["due"]}
        if due is None:
            await db[schema.GC].delete_one(seen)
        else:
            await db[schema.GC].update_one(seen, {"$set": {"due": due}})
    return report + GcReport(accounts_swept=len(waiting), more=len(waiting) == limits.accounts)


@dataclass(slots=True)
class Judgement:
    """What one snapshot says about an account's bodies: ids, with the `dead_since` they had in it."""

    unmarked: list[bytes] = field(default_factory=list)
    revived: list[tuple[bytes, int]] = field(default_factory=list)
    condemned: list[tuple[bytes, int]] = field(default_factory=list)
    oldest_mark: int | None = None
    oldest_tombstone: int | None = None

    def next_due(self, retention: Retention, now: int) -> int | None:
        """When to look again (ms); None when nothing waits."""
        times = [now + retention.grace] if self.unmarked else []
        if self.oldest_mark is not None:
            times.append(self.oldest_mark + retention.grace)
        if self.oldest_tombstone is not None:
            times.append(max(self.oldest_tombstone + retention.restorable, now + retention.resweep))
        return min(times, default=None)


async def judge(db: Database, account_id: AccountId, restorable_after: int, marked_before: int) -> Judgement:
    """Compare an account's bodies with what refers to them, in one snapshot (times in ms)."""
    out = Judgement()
    async with db.snapshot() as session:
        named: set[bytes] = set()
        async for ids in references(db, account_id, session):
            named.update(ids[i : i + 16] for i in range(0, len(ids), 16))
        async for tombstone in _tombstones(db, account_id, session):
            if tombstone["at"] > restorable_after:
                ids = tombstone["b"]
                named.update(ids[i : i + 16] for i in range(0, len(ids), 16))
                out.oldest_tombstone = min(out.oldest_tombstone or tombstone["at"], tombstone["at"])
        marks: dict[bytes, int] = {}
        query = {"a": account_id, "dead_since": {"$exists": True}}
        async for body in db[schema.BODIES].iterate(query, {"dead_since": 1}, session=session, batch_size=_BATCH):
            marks[body["_id"]] = body["dead_since"]
        bodies = db[schema.BODIES].iterate({"a": account_id}, {"_id": 1}, session=session, batch_size=5 * _BATCH)
        async for body in bodies:
            _judge_body(out, body["_id"], body["_id"] in named, marks.get(body["_id"]), marked_before)
    return out


def _judge_body(out: Judgement, body_id: bytes, named: bool, mark: int | None, marked_before: int) -> None:
    if named:
        if mark is not None:
            out.revived.append((body_id, mark))
    elif mark is None:
        out.unmarked.append(body_id)
    elif mark <= marked_before:
        out.condemned.append((body_id, mark))
    else:
        out.oldest_mark = min(out.oldest_mark or mark, mark)


async def references(db: Database, account_id: AccountId, session: Session) -> AsyncIterator[bytes]:
    """Body ids (16 n bytes) of the living rows of each page and tail of an account, deleted mailboxes included."""
    mailboxes = await db[schema.MAILBOXES].find({"a": account_id}, {"tail": 1}, session=session)
    for mailbox in mailboxes:
        yield bytes(unpack_tail(mailbox["tail"]).body_ids)
        low, high = page_id_range(MailboxId(mailbox["_id"]))
        query = {"_id": {"$gte": low, "$lte": high}, "a": account_id}
        ids, number = b"", -1
        pages = db[schema.PAGES].iterate(query, {"b": 1, "f": 1}, session=session, sort=[("_id", 1)], batch_size=_BATCH)
        async for page in pages:
            _, page_number, kind = split_page_id(page["_id"])
            if kind == IMMUTABLE:
                if ids:
                    yield ids  # its other half is missing: audit's matter; its bodies are kept
                ids, number = page["b"], page_number
            elif page_number == number:
                yield _living(ids, page["f"][0])
                ids = b""
        if ids:
            yield ids


def _living(ids: bytes, word0: bytes) -> bytes:
    """The ids of the rows without the dead bit."""
    words = unpack(U64, word0)
    if max(words, default=0) < DEAD:
        return ids
    return b"".join([ids[16 * row : 16 * row + 16] for row, word in enumerate(words) if word < DEAD])


async def _tombstones(db: Database, account_id: AccountId, session: Session) -> AsyncIterator[Document]:
    """Tombstones of removals; those of moves restore nothing, their bodies are named where they went."""
    query = {"a": account_id, "reason": {"$ne": "move"}}
    async for document in db[schema.VANISHED].iterate(query, {"at": 1, "b": 1}, session=session):
        yield document


async def _apply(db: Database, account_id: AccountId, judged: Judgement, now: int) -> GcReport:
    bodies = db[schema.BODIES]
    marked = revived = deleted = 0
    crash.point("gc.before_mark")
    for start in range(0, len(judged.unmarked), _BATCH):
        query = _which(account_id, judged.unmarked[start : start + _BATCH], {"$exists": False})
        marked += await bodies.update_many(query, {"$set": {"dead_since": now}})
    for mark, ids in _by_mark(judged.revived):
        revived += await bodies.update_many(_which(account_id, ids, mark), {"$unset": {"dead_since": 1}})
    crash.point("gc.before_delete_bodies")
    for mark, ids in _by_mark(judged.condemned):
        deleted += await bodies.delete_many(_which(account_id, ids, mark))
    return GcReport(bodies_marked=marked, bodies_revived=revived, bodies_deleted=deleted)


def _which(account_id: AccountId, ids: Sequence[bytes], mark: int | Document) -> Document:
    return {"_id": {"$in": ids}, "a": account_id, "dead_since": mark}


def _by_mark(marked: Sequence[tuple[bytes, int]]) -> Iterator[tuple[int, list[bytes]]]:
    """Batches of ids that have the same mark."""
    groups: dict[int, list[bytes]] = {}
    for body_id, mark in marked:
        groups.setdefault(mark, []).append(body_id)
    for mark, ids in groups.items():
        for start in range(0, len(ids), _BATCH):
            yield mark, ids[start : start + _BATCH]


async def _batches(found: AsyncIterator[Document]) -> AsyncIterator[list[Document]]:
    batch: list[Document] = []
    async for document in found:
        batch.append(document)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
