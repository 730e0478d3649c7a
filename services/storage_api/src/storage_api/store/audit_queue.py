"""What the audit says of mail out: whatever was queued is on its way, delivered, bounced or deliberately removed.

A submission's receipt and its queue documents are written in one transaction, and documents outlive receipts by weeks;
so they must be there. A document that isn't done has its message whole, and somebody tries it; one that is done has no
recipient left, and what its sender is owed of a failure was written with it. Documents and messages aren't read in one
snapshot: a fault is looked at twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailboat_common.ids import encode_id

from ..db import schema
from ..db.driver import Database, Document, Session
from ..queue.contents import part_id
from ..queue.documents import CLAIMED, DELIVERED, DONE, FAILED, PENDING, READY, REMOVED
from .audit_findings import Finding, FindingKind, Summary

_BATCH = 500
_STUCK = 3_600_000
_FIELDS: Document = {
    "t": 1,
    "a": 1,
    "state": 1,
    "due": 1,
    "size": 1,
    "content_id": 1,
    "recipients.state": 1,
    "recipients.settled": 1,
    "inline": {"$binarySize": "$content"},
}


async def audit_queue(db: Database, summary: Summary, now: int) -> AsyncIterator[Finding]:
    """Judge the whole queue. `now` in ms since the epoch."""
    query: Document = {}
    while True:
        found = await _read(db, query)
        for document in found:
            _count(summary, document)
            if (fault := await _fault(db, document, now)) is None:
                continue
            again = await _read(db, {"_id": document["_id"]})  # it may have gone on while we looked
            if again and await _fault(db, again[0], now) == fault:
                kind, detail = fault
                where = f"{encode_id(bytes(document['_id']))} of transaction {document['t']} {detail}"
                yield Finding(kind, document.get("a"), None, where)
        if len(found) < _BATCH:
            return
        query = {"_id": {"$gt": found[-1]["_id"]}}


async def audit_submissions(
    db: Database, session: Session, account_id: bytes, results: Sequence[Document]
) -> AsyncIterator[Finding]:
    """Judge the results in an account's receipts of submissions, in the receipts' snapshot."""
    for start in range(0, len(results), _BATCH):
        some = results[start : start + _BATCH]
        there: dict[str, set[str]] = {}
        query = {"t": {"$in": [result["t"] for result in some]}}
        fields = {"t": 1, "recipients.address": 1}
        async for document in db[schema.QUEUE].iterate(query, fields, session=session, batch_size=_BATCH):
            there.setdefault(document["t"], set()).update(r["address"] for r in document["recipients"])
        for result in some:
            queued = {address for address, status, _ in result["recipients"] if status == "queued"}
            for address in sorted(queued - there.get(result["t"], set())):
                detail = f"transaction {result['t']} was queued for {address}, which no queue document has"
                yield Finding(FindingKind.LOST_MESSAGE, account_id, None, detail)


async def _read(db: Database, query: Document) -> list[Document]:
    pipeline: list[Document] = [
        {"$match": query},
        {"$sort": {"_id": 1}},
        {"$limit": _BATCH},
        {"$project": _FIELDS},
    ]
    return await db[schema.QUEUE].aggregate(pipeline)


def _count(summary: Summary, document: Document) -> None:
    states = [recipient["state"] for recipient in document["recipients"]]
    summary.queued += states.count(PENDING)
    summary.delivered += states.count(DELIVERED)
    summary.bounced += states.count(FAILED)
    summary.removed += states.count(REMOVED)


async def _fault(db: Database, document: Document, now: int) -> tuple[FindingKind, str] | None:
    waits = any(recipient["state"] == PENDING for recipient in document["recipients"])
    if document["state"] == DONE:
        if waits:
            return FindingKind.DAMAGED_QUEUE, "is done, and a recipient waits"
        untold = any(r["state"] == FAILED and not r.get("settled") for r in document["recipients"])
        return (FindingKind.UNTOLD_FAILURE, "is done, and nobody saw to a failure") if untold else None
    size = document.get("inline")
    if "content_id" in document:
        size = await _size(db, bytes(document["content_id"]))
    if size != document["size"]:
        return FindingKind.QUEUED_WITHOUT_CONTENT, f"has {size} of {document['size']} octets"
    if document["state"] in (READY, CLAIMED) and document.get("due", 0) < now - _STUCK:
        return FindingKind.QUEUE_STUCK, "was due an hour ago"
    return None


async def _size(db: Database, content_id: bytes) -> int | None:
    span = {"_id": {"$gte": part_id(content_id, 0), "$lte": part_id(content_id, 0xFFFFFFFF)}}
    pipeline: list[Document] = [
        {"$match": span},
        {"$group": {"_id": None, "size": {"$sum": {"$binarySize": "$data"}}}},
    ]
    found = await db[schema.QUEUE_PARTS].aggregate(pipeline)
    return int(found[0]["size"]) if found else None
