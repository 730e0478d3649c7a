"""Message bodies: immutable, per account, rebuilt to the byte (RFC 3501 2.3.1.1 gives a message its bytes for good).

bodies  _id body id (UUIDv7), a account, v, size, header_size, dict (zstd dictionary, 0: none), header and text (zstd),
        structure, envelope, bodystructure, body, preview, thread, sort (mailboat_mime.SortKeys; absent in a body stored
        before there were any), t (trace id of the delivery that brought it; absent in an appended one); segments
        (packed) if the message is over 64 KB, and
        blobs [sha256] if any of them is in the blob store; dead_since (ms) once the collector found no reference

Rules: a document is inserted by the transaction that refers to it (store.md, rule 1), so an entry without its body
can't exist; whatever isn't in the document is durable on a majority before `prepare` returns. Bodies are asked for by
account and id together. Messages over 256 KB are scanned and compressed in a thread. Nothing ever holds a whole large
message for a range read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from mailboat_common.errors import Internal, Refused, RefusedCode
from mailboat_common.ids import uuid7
from mailboat_mime import SortKeys
from mailboat_store_client.types import AccountId, BodyField, BodyId, BodyInfo

from ..db import schema
from ..db.driver import Database, Document
from . import bodies_zstd
from .blobs import THREAD_ABOVE, Blobs, Clock, now_ms
from .bodies_render import HEADER_LIMIT, Rendered, Segment, Source, render, segments_of

PIECE = 64 * 1024
_FIND_BATCH = 64  # documents of up to 64 KB a round trip

_FIELD_NAMES = {
    BodyField.HEADER: "header",
    BodyField.STRUCTURE: "structure",
    BodyField.ENVELOPE: "envelope",
    BodyField.BODYSTRUCTURE: "bodystructure",
    BodyField.BODY: "body",
    BodyField.PREVIEW: "preview",
    BodyField.THREAD: "thread",
    BodyField.SORT_KEYS: "sort",
}
_CONTENT_FIELDS = {"a": 1, "size": 1, "header_size": 1, "dict": 1, "header": 1, "text": 1, "segments": 1, "blobs": 1}


@dataclass(frozen=True, slots=True)
class PreparedBody:
    """A body whose document waits for a transaction; all else of it is durable.

    `document` is to be inserted into collection `bodies`; `transaction_bytes` is about its size there.
    """

    body_id: BodyId
    size: int
    document: Document
    transaction_bytes: int


class Bodies:
    """Bodies of one database. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Clock = now_ms) -> None:
        self._bodies = db[schema.BODIES]
        self.blobs = Blobs(db, clock)

    # Writing

    async def prepare(self, account_id: AccountId, content: bytes) -> PreparedBody:
        """Make a body of `content` for one account. Never fails on any content; driver errors pass through."""
        return (await self.prepare_for((account_id,), content))[0]

    async def prepare_for(self, account_ids: Sequence[AccountId], content: bytes) -> list[PreparedBody]:
        """The same content for several accounts, rendered and stored once: a body each, in order."""
        if len(content) > THREAD_ABOVE:
            rendered = await asyncio.to_thread(render, content)
        else:
            rendered = render(content)
        await self.blobs.store(content, rendered.pieces)
        return [_body(account_id, rendered) for account_id in account_ids]

    @staticmethod
    def documents(prepared: PreparedBody) -> list[tuple[str, Document]]:
        """(collection, document) pairs to insert in the transaction that refers to the body."""
        return [(schema.BODIES, prepared.document)]

    # Reading

    async def infos(
        self, account_id: AccountId, body_ids: Sequence[BodyId], fields: BodyField
    ) -> list[BodyInfo | None]:
        """Rendered fields of up to 1,000 bodies, in order, from one query; None for one that is gone."""
        names = [name for field, name in _FIELD_NAMES.items() if field in fields]
        projection = dict.fromkeys(("size", "header_size", "dict", *names), 1)
        documents = await self._find(account_id, body_ids, projection)
        if BodyField.SORT_KEYS in fields:
            await self._add_sort_keys(account_id, [document for document in documents if "sort" not in document])
        found = {document["_id"]: _info(document) for document in documents}
        return [found.get(body_id) for body_id in body_ids]

    async def _add_sort_keys(self, account_id: AccountId, documents: Sequence[Document]) -> None:
        """Work out the sort keys of bodies stored before there were any: from the header, each time anew."""
        for start in range(0, len(documents), _FIND_BATCH):
            lacking = {document["_id"]: document for document in documents[start : start + _FIND_BATCH]}
            for found in await self._find(
                account_id, list(lacking), dict.fromkeys(("header", "header_size", "dict"), 1)
            ):
                try:
                    header = await self._header_start(account_id, found)
                except Refused:
                    continue  # collected in the meantime
                lacking[found["_id"]]["sort"] = SortKeys.of(header).to_bytes()

    async def _header_start(self, account_id: AccountId, document: Document) -> bytes:
        """A header block; one over HEADER_LIMIT, which isn't in its document, up to there."""
        packed, size = document.get("header"), document["header_size"]
        if packed is not None:
            return bodies_zstd.decompress(packed, size, document["dict"])
        return b"".join([piece async for piece in self.read(account_id, document["_id"], 0, min(size, HEADER_LIMIT))])

    async def contents(self, account_id: AccountId, body_ids: Sequence[BodyId], max_bytes: int) -> list[bytes | None]:
        """Whole messages, in order: as many as fit `max_bytes`, but at least one; None for one that is gone."""
        out: list[bytes | None] = []
        room = max_bytes
        for start in range(0, len(body_ids), _FIND_BATCH):
            batch = body_ids[start : start + _FIND_BATCH]
            found = {d["_id"]: d for d in await self._find(account_id, batch, _CONTENT_FIELDS)}
            chosen: list[Document | None] = []
            for body_id in batch:
                document = found.get(body_id)
                if document is not None:
                    room -= document["size"]
                    if room < 0 and any(content is not None for content in (*out, *chosen)):
                        return out + await self._contents(chosen)
                chosen.append(document)
            out += await self._contents(chosen)
        return out

    async def read(
        self, account_id: AccountId, body_id: BodyId, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Octets [offset, offset + length) of a message, cut at its end, in pieces of up to 64 KB.

        Refused NO_MESSAGE if it is gone, also while it is read; Internal if it is damaged.
        """
        document = await self._document(account_id, body_id)
        end = document["size"] if length is None else min(document["size"], offset + length)
        try:
            async for piece in self._range(document, offset, end):
                yield piece
        except Internal:
            await self._document(account_id, body_id)  # collected in the meantime: that is no damage
            raise

    async def verify(self, document: Document) -> str | None:
        """Read a whole body, check lengths and the digest of each blob; what is wrong with it, or None."""
        try:
            for segment in segments_of(document):
                digest, size = hashlib.sha256(), 0
                async for piece in self._range(document, segment.offset, segment.offset + segment.length):
                    digest.update(piece)
                    size += len(piece)
                if size != segment.length:
                    return f"segment at {segment.offset} gives {size} octets instead of {segment.length}"
                if segment.blob is not None and digest.digest() != document["blobs"][segment.blob]:
                    return f"segment at {segment.offset} doesn't have its digest"
        except Internal as error:
            return error.private
        return None

    async def _find(
        self, account_id: AccountId, body_ids: Sequence[BodyId], projection: Mapping[str, int]
    ) -> list[Document]:
        query = {"_id": {"$in": list(dict.fromkeys(body_ids))}, "a": account_id}
        return await self._bodies.find(query, projection) if body_ids else []

    async def _document(self, account_id: AccountId, body_id: BodyId) -> Document:
        document = await self._bodies.find_one({"_id": body_id, "a": account_id}, _CONTENT_FIELDS)
        if document is None:
            raise Refused(RefusedCode.NO_MESSAGE, "The message is gone")
        return document

    async def _contents(self, documents: Sequence[Document | None]) -> list[bytes | None]:
        """The messages of some documents; blobs of one chunk are fetched for all of them together."""
        digests = [digest for document in documents if document is not None for digest in document.get("blobs", ())]
        heads = await self.blobs.heads(digests) if digests else {}
        loaded = await self.blobs.load([head for head in heads.values() if head.chunks == 1]) if heads else {}
        out: list[bytes | None] = []
        for document in documents:
            if document is None:
                out.append(None)
                continue
            try:
                out.append(await self._content(document, loaded))
            except Internal:
                if await self._bodies.count({"_id": document["_id"], "a": document["a"]}, limit=1):
                    raise
                out.append(None)  # collected between the two queries
        return out

    async def _content(self, document: Document, loaded: Mapping[bytes, bytes]) -> bytes:
        digests: Sequence[bytes] = document.get("blobs", ())
        if not digests:
            return _whole(document)
        if not all(digest in loaded for digest in digests):
            return b"".join([piece async for piece in self._range(document, 0, document["size"])])
        inside = _Inside(document)
        content = b"".join(
            inside.segment(segment) if segment.blob is None else loaded[digests[segment.blob]]
            for segment in inside.segments
        )
        if len(content) != document["size"]:
            raise Internal(f"body {document['_id'].hex()} has {len(content)} octets instead of {document['size']}")
        return content

    async def _range(self, document: Document, offset: int, end: int) -> AsyncIterator[bytes]:
        inside = _Inside(document)
        segments = [s for s in inside.segments if s.offset < end and s.offset + s.length > offset]
        wanted = [document["blobs"][s.blob] for s in segments if s.blob is not None]
        heads = await self.blobs.heads(wanted) if wanted else {}
        for segment in segments:
            begin, stop = max(0, offset - segment.offset), min(segment.length, end - segment.offset)
            if segment.blob is None:
                data = inside.segment(segment)
                for at in range(begin, stop, PIECE):
                    yield data[at : min(at + PIECE, stop)]
                continue
            head = heads.get(document["blobs"][segment.blob])
            if head is None or head.size != segment.length:
                raise Internal(f"body {document['_id'].hex()} lacks the blob of its segment at {segment.offset}")
            async for piece in self.blobs.read(head, begin, stop - begin):
                yield piece


class _Inside:
    """The segments within a document, decompressed when first asked for."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._text: bytes | None = None
        self.segments = segments_of(document)
        self._starts: dict[int, int] = {}
        self._text_size = 0
        for segment in self.segments:
            if segment.source == Source.TEXT:
                self._starts[segment.offset] = self._text_size
                self._text_size += segment.length

    def segment(self, segment: Segment) -> bytes:
        """The octets of a header or text segment."""
        document = self._document
        if segment.source == Source.HEADER:
            return bodies_zstd.decompress(document["header"], segment.length, document["dict"])
        if self._text is None:
            self._text = bodies_zstd.decompress(document["text"], self._text_size, document["dict"])
        start = self._starts[segment.offset]
        return self._text[start : start + segment.length]


def _whole(document: Document) -> bytes:
    """A message all of whose octets are in its document, without the detour over segments."""
    size, header_size, dictionary = document["size"], document["header_size"], document["dict"]
    header = bodies_zstd.decompress(document["header"], header_size, dictionary)
    return header + bodies_zstd.decompress(document["text"], size - header_size, dictionary)


def _body(account_id: AccountId, rendered: Rendered) -> PreparedBody:
    body_id = BodyId(uuid7())
    document: Document = {"_id": body_id, "a": account_id, **rendered.fields}
    document.setdefault("thread", body_id)
    return PreparedBody(body_id, rendered.size, document, rendered.transaction_bytes)


def _info(document: Document) -> BodyInfo:
    header = document.get("header")
    return BodyInfo(
        body_id=document["_id"],
        size=document["size"],
        header_size=document["header_size"],
        header=None if header is None else bodies_zstd.decompress(header, document["header_size"], document["dict"]),
        structure=document.get("structure"),
        envelope=document.get("envelope"),
        bodystructure=document.get("bodystructure"),
        body=document.get("body"),
        preview=document.get("preview"),
        thread=document.get("thread"),
        sort_keys=document.get("sort"),
    )
