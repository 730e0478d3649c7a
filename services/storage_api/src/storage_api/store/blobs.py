"""Content shared by bodies: segments by the SHA-256 of their octets (store.md, rule 10).

blobs        _id sha256, gen, size, chunks, touched (ms): the head, written last
blob_chunks  _id gen + number (u32, big-endian), h sha256, d zstd frame: 1 MiB of the content, the last the rest

Rules: a head is there only when all chunks of its `gen` are, so a reader that sees the head can read the content. A use
of a blob moves `touched` forward, also when the blob exists; the collector never deletes what was touched in the last
24 hours, so whoever prepared a body has a day to commit it. `gen` is a UUIDv7 of the writer's own: two writers of the
same content never mix chunks, and the one whose head came second takes its chunks away again (a writer that dies before
leaves them to the collector). Blobs belong to no account: they are sharded by hash.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from mailboat_common.errors import Internal
from mailboat_common.ids import uuid7

from ..db import schema
from ..db.driver import Database, Document, PyMongoError, Session, UpdateOne, is_duplicate_key
from . import bodies_zstd
from .bodies_render import Piece

CHUNK = 1024 * 1024
GROUP = 4
"""Chunks compressed and written at a time: what one message holds in memory beside itself."""

THREAD_ABOVE = 256 * 1024
"""Octets whose scanning or compression would keep the event loop too long (about a millisecond)."""

Clock = Callable[[], int]


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class BlobHead:
    """Where a blob's content is: `chunks` chunks under `gen`, `size` octets together."""

    sha256: bytes
    gen: bytes
    size: int
    chunks: int

    @staticmethod
    def of(document: Document) -> BlobHead:
        """The head as read from the database."""
        return BlobHead(document["_id"], document["gen"], document["size"], document["chunks"])

    def chunk_size(self, number: int) -> int:
        """Octets of content in a chunk."""
        return min(CHUNK, self.size - number * CHUNK)


def chunk_id(gen: bytes, number: int) -> bytes:
    """`_id` of a chunk; sorts by number within `gen`."""
    return gen + struct.pack(">I", number)


class Blobs:
    """The blob store of one database. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._heads = db[schema.BLOBS]
        self._chunks = db[schema.BLOB_CHUNKS]
        self._clock = clock

    async def store(self, content: bytes, pieces: Sequence[Piece]) -> None:
        """Have the pieces of `content`, durable on a majority and touched, when this returns."""
        if not pieces:
            return
        known = await self._touch([piece.sha256 for piece in pieces])
        for piece in pieces:
            if piece.sha256 not in known:
                await self._write(content, piece)

    async def _touch(self, digests: Sequence[bytes]) -> Set[bytes]:
        """Touch the blobs that exist and say which those are."""
        touched = {"$max": {"touched": self._clock()}}
        if len(digests) == 1:  # most messages with any: one round trip instead of two
            found = await self._heads.find_one_and_update({"_id": digests[0]}, touched, {"_id": 1})
            return {found["_id"]} if found else set()
        await self._heads.bulk_write([UpdateOne({"_id": digest}, touched) for digest in digests], ordered=False)
        # What is there now was there when it was touched, or is younger: the collector can't take it.
        return (await self.heads(digests)).keys()

    async def _write(self, content: bytes, piece: Piece) -> None:
        gen, size = uuid7(), piece.end - piece.start
        chunks = max(1, -(-size // CHUNK))
        for first in range(0, chunks, GROUP):
            numbers = range(first, min(first + GROUP, chunks))
            if size > THREAD_ABOVE:
                frames = await asyncio.to_thread(_frames, content, piece, numbers)
            else:
                frames = _frames(content, piece, numbers)
            await self._chunks.insert_many(
                [
                    {"_id": chunk_id(gen, number), "h": piece.sha256, "d": frame}
                    for number, frame in zip(numbers, frames, strict=True)
                ],
                ordered=False,
            )
        update = {"$setOnInsert": {"gen": gen, "size": size, "chunks": chunks}, "$max": {"touched": self._clock()}}
        try:
            existed = await self._heads.update_one({"_id": piece.sha256}, update, upsert=True) > 0
        except PyMongoError as error:
            if not is_duplicate_key(error):
                raise
            existed = await self._heads.update_one({"_id": piece.sha256}, update, upsert=True) > 0
        if existed and (await self.heads([piece.sha256]))[piece.sha256].gen != gen:
            await self.delete_chunks(gen)

    async def delete_chunks(self, gen: bytes) -> int:
        """Delete all chunks of a `gen` that no head names (any more). Returns how many."""
        return await self._chunks.delete_many(self.chunks_of(gen))

    @staticmethod
    def chunks_of(gen: bytes) -> Document:
        """The query for all chunks of a `gen`."""
        return {"_id": {"$gte": chunk_id(gen, 0), "$lte": chunk_id(gen, 0xFFFFFFFF)}}

    async def heads(self, digests: Sequence[bytes], *, session: Session | None = None) -> Mapping[bytes, BlobHead]:
        """The heads that exist, by digest."""
        found: dict[bytes, BlobHead] = {}
        unique = list(dict.fromkeys(digests))
        for start in range(0, len(unique), 1000):
            query = {"_id": {"$in": unique[start : start + 1000]}}
            for document in await self._heads.find(query, session=session):
                found[document["_id"]] = BlobHead.of(document)
        return found

    async def load(self, heads: Sequence[BlobHead]) -> dict[bytes, bytes]:
        """The content of blobs of one chunk each, by digest, but of those that are gone. Internal if damaged."""
        wanted = {chunk_id(head.gen, 0): head for head in heads}
        found: dict[bytes, bytes] = {}
        async for document in self._chunks.iterate({"_id": {"$in": list(wanted)}}, {"d": 1}, batch_size=16):
            head = wanted[document["_id"]]
            found[head.sha256] = bodies_zstd.decompress(document["d"], head.size)
        return found

    async def read(self, head: BlobHead, offset: int, length: int) -> AsyncIterator[bytes]:
        """Octets [offset, offset + length) of a blob in pieces of up to 64 KB; the range lies within the blob.

        Internal when a chunk is missing or damaged, which also means that the blob was collected in the meantime.
        """
        if length <= 0:
            return
        first, last = offset // CHUNK, (offset + length - 1) // CHUNK
        query = {"_id": {"$gte": chunk_id(head.gen, first), "$lte": chunk_id(head.gen, last)}}
        number = first
        async for document in self._chunks.iterate(query, {"d": 1}, sort=[("_id", 1)], batch_size=2):
            if document["_id"] != chunk_id(head.gen, number):
                break
            start = number * CHUNK
            begin, end = max(0, offset - start), min(head.chunk_size(number), offset + length - start)
            for piece in bodies_zstd.stream(document["d"], head.chunk_size(number), begin, end):
                yield piece
            number += 1
        if number <= last:
            raise Internal(f"blob {head.sha256.hex()} lacks chunk {number} of {head.chunks}")


def _frames(content: bytes, piece: Piece, numbers: range) -> list[bytes]:
    view = memoryview(content)[piece.start : piece.end]
    return [bodies_zstd.compress(view[number * CHUNK : (number + 1) * CHUNK]) for number in numbers]
