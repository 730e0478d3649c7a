"""Messages of the outbound queue: kept once, however many destination domains they have, until none needs them.

A small message of one document lies in it. Any other is cut into `queue_parts`: with the transaction that queues it if
it is small enough, else durable before. Parts go when the last document that names them is done; parts whose
documents never came (a process died in between) are swept after a day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mailboat_common.errors import Failure

from ..db import schema
from ..db.driver import Database, Document, InsertOne, PyMongoError, is_duplicate_key

INLINE_BYTES = 64 << 10
PART_BYTES = 1 << 20
IN_TRANSACTION_BYTES = 1 << 20
ORPHAN_MS = 24 * 3600 * 1000
_SWEEP_LIMIT = 100
_BATCH_BYTES = 16 << 20


def content_id_of(key: bytes) -> bytes:
    """The 16-byte id of the message that is queued under this idempotency key."""
    return hashlib.sha256(b"queue content " + key).digest()[:16]


def part_id(content_id: bytes, number: int) -> bytes:
    """The `_id` of a part."""
    return content_id + number.to_bytes(4, "big")


def parts_of(content_id: bytes, content: bytes, now: int) -> list[Document]:
    """The documents that hold a message."""
    return [
        {"_id": part_id(content_id, number), "data": content[start : start + PART_BYTES], "at": now}
        for number, start in enumerate(range(0, max(len(content), 1), PART_BYTES))
    ]


async def keep(db: Database, content_id: bytes, content: bytes, now: int) -> None:
    """Make a large message durable before it is queued; a repeat finds it there."""
    operations = [InsertOne[Document](part) for part in parts_of(content_id, content, now)]
    step = max(1, _BATCH_BYTES // PART_BYTES)
    for start in range(0, len(operations), step):
        try:
            await db[schema.QUEUE_PARTS].bulk_write(operations[start : start + step], ordered=False)
        except PyMongoError as error:
            if not is_duplicate_key(error):
                raise


async def fetch(db: Database, document: Document) -> bytes:
    """The message of a document that isn't done. Failure if a part is missing."""
    if "content" in document:
        return bytes(document["content"])
    content_id, size = bytes(document["content_id"]), document["size"]
    numbers = range(max(1, -(-size // PART_BYTES)))
    found = await db[schema.QUEUE_PARTS].find({"_id": {"$in": [part_id(content_id, n) for n in numbers]}})
    parts = {bytes(part["_id"]): part["data"] for part in found}
    try:
        return b"".join(parts[part_id(content_id, number)] for number in numbers)
    except KeyError:
        raise Failure("", f"queue document {document['_id'].hex()} lacks a part of its message") from None


async def release(db: Database, content_ids: Sequence[bytes]) -> None:
    """Remove those messages that no document names any more. Call it after the commit that finished one."""
    for content_id in content_ids:
        if await db[schema.QUEUE].find_one({"content_id": content_id}, {"_id": 1}) is None:
            first, end = part_id(content_id, 0), part_id(content_id, 0xFFFFFFFF)
            await db[schema.QUEUE_PARTS].delete_many({"_id": {"$gte": first, "$lte": end}})


async def sweep_orphans(db: Database, now: int) -> None:
    """Remove messages over a day old that no document names: never queued, or their remover died."""
    old = await db[schema.QUEUE_PARTS].find({"at": {"$lt": now - ORPHAN_MS}}, {"_id": 1, "at": 1}, limit=_SWEEP_LIMIT)
    content_ids = {bytes(part["_id"])[:16] for part in old}
    if not content_ids:
        return
    used = await db[schema.QUEUE].find({"content_id": {"$in": sorted(content_ids)}}, {"content_id": 1})
    needed = {bytes(document["content_id"]) for document in used}
    await release(db, sorted(content_ids - needed))
    if needed:  # looked at again tomorrow, so that they don't stand in the way of the others
        query = {"$or": [{"_id": {"$gte": part_id(c, 0), "$lte": part_id(c, 0xFFFFFFFF)}} for c in sorted(needed)]}
        await db[schema.QUEUE_PARTS].update_many(query, {"$set": {"at": now}})
