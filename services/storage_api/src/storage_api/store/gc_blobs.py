"""Collecting blobs (store.md, rule 10).

Both rounds go through their collection in `_id` order, a bounded piece at a time, and begin again at its end; how far
they have come is in `gc`, and two workers on the same piece only do it twice.

A head is deleted on condition that `touched` is what was read before the bodies were asked: a writer that prepares a
body touches first and inserts later, so a new name for the blob is either seen or has moved `touched`. Chunks go after
their head. Chunks that no head names are of a writer that came second or died, or of a collector that died between
the two deletions; a `gen` is a UUIDv7, so its age says when no writer can be at work on it any more.
"""

from __future__ import annotations

from mailboat_common import crash

from ..db import schema
from ..db.driver import Database
from .blobs import Blobs
from .gc_report import GcReport, Limits, Retention


async def collect_heads(db: Database, retention: Retention, limits: Limits, now: int) -> GcReport:
    """Judge the next heads that were not touched for `grace`."""
    heads, blobs = db[schema.BLOBS], Blobs(db)
    at = await _position(db, "blobs")
    query = {"_id": {"$gt": at}, "touched": {"$lte": now - retention.grace}}
    found = await heads.find(query, sort=[("_id", 1)], limit=limits.heads)
    deleted = chunks = 0
    for head in found:
        if await db[schema.BODIES].find_one({"blobs": head["_id"]}, {"_id": 1}) is not None:
            continue
        crash.point("gc.before_delete_head")
        if not await heads.delete_one({"_id": head["_id"], "gen": head["gen"], "touched": head["touched"]}):
            continue
        crash.point("gc.after_delete_head")
        chunks += await blobs.delete_chunks(head["gen"])
        deleted += 1
    await _advance(db, "blobs", found[-1]["_id"] if len(found) == limits.heads else b"")
    return GcReport(blobs_deleted=deleted, chunks_deleted=chunks)


async def collect_orphans(db: Database, retention: Retention, limits: Limits, now: int) -> GcReport:
    """Delete chunks whose `gen` is older than `grace` and isn't its blob's."""
    at = await _position(db, "chunks")
    # MongoDB orders binaries by length first: a bound is as long as what it bounds.
    youngest = max(0, now - retention.grace).to_bytes(6, "big") + bytes(14)
    query = {"_id": {"$gt": at, "$lt": youngest}}
    found = await db[schema.BLOB_CHUNKS].find(query, {"h": 1}, sort=[("_id", 1)], limit=limits.chunks)
    gens = {chunk["_id"][:16]: chunk["h"] for chunk in found}
    heads = await Blobs(db).heads(list(gens.values()))
    deleted = 0
    for gen, digest in gens.items():
        head = heads.get(digest)
        if head is None or head.gen != gen:
            deleted += await Blobs(db).delete_chunks(gen)
    await _advance(db, "chunks", found[-1]["_id"] if len(found) == limits.chunks else b"")
    return GcReport(chunks_deleted=deleted)


async def _position(db: Database, name: str) -> bytes:
    state = await db[schema.GC].find_one({"_id": name})
    position: bytes = state["at"] if state else b""
    return position


async def _advance(db: Database, name: str, at: bytes) -> None:
    await db[schema.GC].update_one({"_id": name}, {"$set": {"at": at}}, upsert=True)
