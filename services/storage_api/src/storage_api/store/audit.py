"""The audit: every accepted message is visible, on its way, delivered, bounced, a duplicate or deliberately removed.

Every invariant of the store is checked as well.

`audit(db)` yields findings and ends with a `Summary`. Each account is judged in one snapshot, so running traffic makes
no false finding; what lies outside (page ids of no mailbox, deep reading of bodies) is looked at a second time before
it is called a fault. Nothing is written, and `trace` is never read. Driver errors pass through: an audit without its
summary says nothing about the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice

from bson.max_key import MaxKey
from mailboat_store_client.types import MailboxId

from ..db import schema
from ..db.driver import Database, Document, Session
from .audit_findings import Finding, FindingKind, Summary
from .audit_mailbox import MailboxAudit
from .audit_queue import audit_queue, audit_submissions
from .audit_receipts import ReceiptAudit
from .blobs import CHUNK, BlobHead, now_ms
from .bodies import Bodies
from .bodies_render import segments_of
from .pages import page_id_range, split_page_id

__all__ = ["Finding", "FindingKind", "Summary", "audit"]

_HOUR = 3_600_000
_RECENT = 23 * _HOUR
"""Entries younger than this still have their receipts: those live for 24 hours."""
_STUCK = _HOUR
_BATCH = 1000
_BODY_FIELDS = {"size": 1, "header_size": 1, "segments": 1, "blobs": 1}


async def audit(db: Database, *, deep: bool = False, now: int | None = None) -> AsyncIterator[Finding | Summary]:
    """Judge the whole store. `deep` also reads every body and checks its digests; `now` is ms since the epoch."""
    now = now_ms() if now is None else now
    summary = Summary()

    def count(finding: Finding) -> Finding:
        summary.findings += 1
        return finding

    async for account in _by_id(db, schema.ACCOUNTS):
        async for finding in _AccountAudit(db, account, summary, now).run():
            yield count(finding)
        if deep:
            async for finding in _deep(db, account):
                yield count(finding)
    async for finding in _orphans(db):
        yield count(finding)
    async for finding in audit_queue(db, summary, now):
        yield count(finding)
    async for finding in _accepted(db, summary, now):
        yield count(finding)
    async for finding in _notices(db, summary, now):
        yield count(finding)
    yield summary


async def _by_id(db: Database, collection: str) -> AsyncIterator[bytes]:
    """The `_id`s of a collection in order; no cursor stays open between batches."""
    query: Document = {}
    while True:
        found = await db[collection].find(query, {"_id": 1}, sort=[("_id", 1)], limit=_BATCH)
        for document in found:
            yield document["_id"]
        if len(found) < _BATCH:
            return
        query = {"_id": {"$gt": found[-1]["_id"]}}


class _AccountAudit:
    """One account in one snapshot."""

    def __init__(self, db: Database, account_id: bytes, summary: Summary, now: int) -> None:
        self._db = db
        self._account_id = account_id
        self._summary = summary
        self._recent_after = now - _RECENT
        self._bodies = _BodyAudit(db, account_id, summary)

    async def run(self) -> AsyncIterator[Finding]:
        """Judge it; an account that is gone by now is nothing."""
        async with self._db.snapshot() as session:
            account = await self._db[schema.ACCOUNTS].find_one({"_id": self._account_id}, session=session)
            if account is None:
                return
            self._summary.accounts += 1
            receipts = ReceiptAudit(self._account_id, self._summary, self._recent_after + _HOUR)
            mailboxes: dict[bytes, MailboxAudit] = {}
            documents = await self._db[schema.MAILBOXES].find({"a": self._account_id}, session=session)
            for document in documents:
                judged = mailboxes[document["_id"]] = MailboxAudit(document, self._recent_after)
                async for finding in self._mailbox(judged, receipts, session):
                    yield finding
            query = {"_id": {"$gt": {"a": self._account_id}, "$lt": {"a": self._account_id, "k": MaxKey()}}}
            async for receipt in self._db[schema.DEDUPE].iterate(query, session=session, batch_size=_BATCH):
                receipts.receipt(receipt)
            waiting = self._db[schema.ACCEPTED].iterate({"pending.a": self._account_id}, {"_id": 1}, session=session)
            pending = {document["_id"] async for document in waiting}
            queued = self._db[schema.QUEUE].iterate(self._recently_queued(), {"t": 1}, session=session)
            receipts.finish(mailboxes, pending | {document["t"] async for document in queued})
            for finding in (*receipts.findings, *self._sums(account, mailboxes)):
                yield finding
            async for finding in audit_submissions(self._db, session, self._account_id, receipts.submitted):
                yield finding

    def _recently_queued(self) -> Document:
        """What the account sent elsewhere since the oldest receipts: done or not, its document stays for a month."""
        since = (self._recent_after - _HOUR).to_bytes(6, "big") + bytes(10)  # a UUIDv7 begins with its ms
        return {"a": self._account_id, "_id": {"$gte": since}}

    async def _mailbox(self, judged: MailboxAudit, receipts: ReceiptAudit, session: Session) -> AsyncIterator[Finding]:
        self._summary.mailboxes += 1
        mailbox_id = judged.document["_id"]
        query: Document = {"a": self._account_id, "m": mailbox_id}
        projection = {"modseq": 1, "u": 1, "target": 1}
        tombstones = self._db[schema.VANISHED].iterate(query, projection, session=session, batch_size=_BATCH)
        async for tombstone in tombstones:
            self._summary.tombstones += 1
            judged.tombstone(tombstone)
            receipts.tombstone(tombstone)
        low, high = page_id_range(MailboxId(mailbox_id))
        halves: dict[bytes, Document] = {}
        number = -1
        pages = self._db[schema.PAGES].iterate(
            {"_id": {"$gte": low, "$lte": high}}, session=session, sort=[("_id", 1)], batch_size=64
        )
        async for document in pages:
            _, this, kind = split_page_id(document["_id"])
            if this != number:
                if halves:
                    judged.page(number, halves)
                    async for finding in self._bodies.judge(judged, session):
                        yield finding
                halves, number = {}, this
            halves[kind] = document
        if halves:
            judged.page(number, halves)
        judged.finish()
        async for finding in self._bodies.judge(judged, session, last=True):
            yield finding
        self._summary.entries += len(judged.uids)
        for finding in judged.findings:
            yield finding

    def _sums(self, account: Document, mailboxes: dict[bytes, MailboxAudit]) -> list[Finding]:
        if account.get("deleted_at") is not None:
            return []
        alive = [mailbox.document for mailbox in mailboxes.values() if mailbox.alive]
        sums = {
            "usage.bytes": (account["usage"]["bytes"], sum(d["size"] for d in alive)),
            "usage.messages": (account["usage"]["messages"], sum(d["messages"] for d in alive)),
            "mailbox_count": (account["mailbox_count"], len(alive)),
        }
        details = [f"{name} is {said}, its mailboxes make {n}" for name, (said, n) in sums.items() if said != n]
        if account["inbox"] not in {document["_id"] for document in alive}:
            details.append("its INBOX isn't there")
        if any(d["uid_validity"] > account["last_uid_validity"] for d in alive):
            details.append("a mailbox has a uid_validity above last_uid_validity")
        return [Finding(FindingKind.WRONG_USAGE, self._account_id, None, detail) for detail in details]


class _BodyAudit:
    """Whether the bodies of an account's entries are there, whole as far as their documents and heads tell."""

    def __init__(self, db: Database, account_id: bytes, summary: Summary) -> None:
        self._db = db
        self._account_id = account_id
        self._summary = summary
        self._blobs = Bodies(db).blobs
        self._waiting: list[tuple[bytes, int]] = []

    async def judge(self, mailbox: MailboxAudit, session: Session, *, last: bool = False) -> AsyncIterator[Finding]:
        """Take the mailbox's new entries; look at them once there are many, or at the `last`."""
        self._waiting += mailbox.take_entries()
        while len(self._waiting) >= _BATCH or (last and self._waiting):
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            for kind, detail in await self._batch(batch, session):
                yield Finding(kind, self._account_id, mailbox.document["_id"], detail)

    async def _batch(self, entries: Sequence[tuple[bytes, int]], session: Session) -> list[tuple[FindingKind, str]]:
        query = {"_id": {"$in": list({body_id for body_id, _ in entries})}, "a": self._account_id}
        found = {d["_id"]: d for d in await self._db[schema.BODIES].find(query, _BODY_FIELDS, session=session)}
        self._summary.bodies += len(found)
        out: list[tuple[FindingKind, str]] = []
        for body_id, size in entries:
            body = found.get(body_id)
            if body is None:
                out.append((FindingKind.MISSING_BODY, body_id.hex()))
            elif body["size"] != size:
                detail = f"{body_id.hex()} has {body['size']} octets, its entry says {size}"
                out.append((FindingKind.DAMAGED_BODY, detail))
        digests = [digest for body in found.values() for digest in body.get("blobs", ())]
        heads = await self._blobs.heads(digests, session=session) if digests else {}
        incomplete = await self._incomplete(list(heads.values()), session)
        for body in found.values():
            if fault := _segments_fault(body, heads, incomplete):
                out.append((FindingKind.DAMAGED_BODY, f"{body['_id'].hex()}: {fault}"))
        return out

    async def _incomplete(self, heads: Sequence[BlobHead], session: Session) -> set[bytes]:
        """Digests of the blobs that lack chunks."""
        there: dict[bytes, int] = {}
        rest = iter(heads)
        while group := list(islice(rest, _BATCH)):
            query = {"$or": [self._blobs.chunks_of(head.gen) for head in group]}
            async for chunk in self._db[schema.BLOB_CHUNKS].iterate(
                query, {"_id": 1}, session=session, batch_size=_BATCH
            ):
                gen = chunk["_id"][:16]
                there[gen] = there.get(gen, 0) + 1
        return {h.sha256 for h in heads if there.get(h.gen, 0) != h.chunks or h.chunks != max(1, -(-h.size // CHUNK))}


def _segments_fault(body: Document, heads: Mapping[bytes, BlobHead], incomplete: set[bytes]) -> str | None:
    segments = segments_of(body)
    if sum(segment.length for segment in segments) != body["size"]:
        return "its segments don't make its size"
    digests: Sequence[bytes] = body.get("blobs", ())
    for segment in segments:
        if segment.blob is None:
            continue
        if segment.blob >= len(digests):
            return f"the segment at {segment.offset} names no blob"
        head = heads.get(digests[segment.blob])
        if head is None or head.size != segment.length:
            return f"the blob of the segment at {segment.offset} is missing or of another size"
        if head.sha256 in incomplete:
            return f"the blob of the segment at {segment.offset} lacks chunks"
    return None


async def _deep(db: Database, account_id: bytes) -> AsyncIterator[Finding]:
    """Read every body of an account to its end."""
    bodies, collection = Bodies(db), db[schema.BODIES]
    query: Document = {"a": account_id}
    while True:
        batch = await collection.find(query, sort=[("_id", 1)], limit=50)
        for body in batch:
            fault = await bodies.verify(body)
            # A body collected in the meantime takes its blobs with it.
            if fault and await collection.count({"_id": body["_id"], "a": account_id}, limit=1):
                yield Finding(FindingKind.DAMAGED_BODY, account_id, None, f"{body['_id'].hex()}: {fault}")
        if len(batch) < 50:
            return
        query = {"a": account_id, "_id": {"$gt": batch[-1]["_id"]}}


async def _orphans(db: Database) -> AsyncIterator[Finding]:
    """Pages of no mailbox, mailboxes of no account."""
    low = b""
    while True:
        found = await db[schema.PAGES].find_one({"_id": {"$gt": low}}, {"_id": 1, "a": 1}, sort=[("_id", 1)])
        if found is None:
            break
        mailbox_id = split_page_id(found["_id"])[0]
        low = page_id_range(mailbox_id)[1]
        if not await db[schema.MAILBOXES].count({"_id": mailbox_id}, limit=1) and await db[schema.PAGES].count(
            {"_id": found["_id"]}, limit=1
        ):
            yield Finding(FindingKind.ORPHAN_PAGE, found.get("a"), mailbox_id, "the mailbox doesn't exist")
    async for mailbox in db[schema.MAILBOXES].iterate({}, {"a": 1}, batch_size=_BATCH):
        if not await db[schema.ACCOUNTS].count({"_id": mailbox["a"]}, limit=1) and await db[schema.MAILBOXES].count(
            {"_id": mailbox["_id"]}, limit=1
        ):
            yield Finding(FindingKind.ORPHAN_MAILBOX, mailbox["a"], mailbox["_id"], "the account doesn't exist")


async def _accepted(db: Database, summary: Summary, now: int) -> AsyncIterator[Finding]:
    """Transactions that wait for their recipients: is their message there, does anyone try?"""
    accepted, projection = db[schema.ACCEPTED], {"pending": 1, "size": 1, "next_attempt": 1}
    async for document in accepted.iterate({}, projection, batch_size=_BATCH):
        trace_id = document["_id"]
        summary.queued += len(document["pending"])
        parts = {"_id": {"$gt": {"t": trace_id}, "$lt": {"t": trace_id, "i": MaxKey()}}}
        pipeline: list[Document] = [
            {"$match": parts},
            {"$group": {"_id": None, "size": {"$sum": {"$binarySize": "$data"}}}},
        ]
        found = await db[schema.ACCEPTED_PARTS].aggregate(pipeline)
        size = found[0]["size"] if found else None
        if size != document["size"] and await accepted.count({"_id": trace_id}, limit=1):
            detail = f"transaction {trace_id} has {size} of {document['size']} octets"
            yield Finding(FindingKind.ACCEPTED_WITHOUT_CONTENT, None, None, detail)
        if document["next_attempt"] < now - _STUCK:
            yield Finding(FindingKind.ACCEPTED_STUCK, None, None, f"transaction {trace_id}")


async def _notices(db: Database, summary: Summary, now: int) -> AsyncIterator[Finding]:
    """Notices to senders that wait to be filed or queued: does anyone try?"""
    async for document in db[schema.NOTICES].iterate({}, {"due": 1, "about": 1}, batch_size=_BATCH):
        summary.queued += 1
        if document["due"] < now - _STUCK:
            detail = f"notice {document['_id']} about transaction {document['about']}"
            yield Finding(FindingKind.NOTICE_STUCK, None, None, detail)
