"""Bodies and blobs on a real mongod: what was prepared and inserted comes back to the byte, whatever range is asked."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from mailboat_common.errors import Internal, Refused, RefusedCode
from mailboat_common.ids import uuid7
from mailboat_mime import Part, SortKeys, bodystructure, envelope, scan
from mailboat_store_client.types import AccountId, BodyField, BodyId
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.store.blobs import CHUNK, BlobHead, Blobs
from storage_api.store.bodies import Bodies, PreparedBody
from storage_api.store.bodies_render import Source, segments_of
from storage_api.store.dictionaries.corpus import messages

from tests.support.mongod import Mongod
from tests.support.planted import empty_database

ALL = (
    BodyField.HEADER
    | BodyField.STRUCTURE
    | BodyField.ENVELOPE
    | BodyField.BODYSTRUCTURE
    | BodyField.BODY
    | BodyField.PREVIEW
    | BodyField.SORT_KEYS
)


@pytest.fixture
async def own_db(mongod: Mongod) -> AsyncIterator[Database]:
    """A database that no other test writes to."""
    async with empty_database(mongod.uri, "bodies") as database:
        yield database


def account() -> AccountId:
    return AccountId(uuid7())


async def insert(db: Database, prepared: PreparedBody) -> BodyId:
    """What the store's transactions do with a prepared body."""
    for collection, document in Bodies.documents(prepared):
        await db[collection].insert_one(document)
    return prepared.body_id


def attachment(rng: random.Random, octets: int, boundary: str = "b") -> bytes:
    """One base64 part of about `octets`, with the delimiter before it."""
    data = base64.encodebytes(rng.randbytes(octets * 3 // 4)).replace(b"\n", b"\r\n")
    head = f"--{boundary}\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    return head.encode() + data + b"\r\n"


def multipart(*parts: bytes, subject: str = "x", boundary: str = "b") -> bytes:
    head = f"Subject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary={boundary}\r\n\r\n"
    return head.encode() + b"".join(parts) + f"--{boundary}--\r\n".encode()


def shapes(rng: random.Random) -> list[bytes]:
    """Messages around every bound the store has."""
    small = list(messages(rng.randrange(1 << 30), 16))
    big_header = b"".join(b"X-Filler-%d: %s\r\n" % (i, b"v" * 60) for i in range(1200))
    return [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"Subject: no body",
        b"no header at all\r\n" * 20,
        rng.randbytes(300),
        rng.randbytes(65536),
        rng.randbytes(65537),
        rng.randbytes(200_000),
        b"Subject: x\r\n\r\n" + b"a" * (65536 - 14),
        b"Subject: x\r\n\r\n" + b"a" * (65537 - 14),
        b"Subject: x\r\n\r\n" + rng.randbytes(CHUNK * 2 + 17),
        big_header + b"\r\nshort",
        big_header * 4 + b"\r\nheader over 256 KB\r\n",
        multipart(attachment(rng, 90_000), attachment(rng, 500), attachment(rng, 150_000)),
        multipart(*[attachment(rng, 5_000) for _ in range(40)], attachment(rng, 70_000)),
        multipart(*[attachment(rng, 66_000)] * 2, attachment(rng, 1_500_000)),
        b"Content-Type: message/rfc822\r\n\r\n" + multipart(attachment(rng, 100_000)),
        *small,
    ]


async def test_any_message_comes_back_to_the_byte_in_any_range(db: Database) -> None:
    rng = random.Random(7)
    bodies, owner = Bodies(db), account()
    contents = shapes(rng)
    ids = [await insert(db, await bodies.prepare(owner, content)) for content in contents]
    assert await bodies.contents(owner, ids, 1 << 30) == contents
    for body_id, content in zip(ids, contents, strict=True):
        assert b"".join([piece async for piece in bodies.read(owner, body_id)]) == content
        for _ in range(6):
            offset, length = rng.randrange(len(content) + 10), rng.randrange(1, len(content) + 100)
            pieces = [piece async for piece in bodies.read(owner, body_id, offset, length)]
            assert b"".join(pieces) == content[offset : offset + length]
            assert all(0 < len(piece) <= 65536 for piece in pieces)


async def test_random_multiparts_round_trip(db: Database) -> None:
    rng = random.Random(11)
    bodies, owner = Bodies(db), account()
    for _ in range(12):
        parts = [attachment(rng, rng.choice((10, 1000, 40_000, 66_000, 120_000))) for _ in range(rng.randrange(7))]
        content = multipart(*parts, subject=str(rng.random()))
        body_id = await insert(db, await bodies.prepare(owner, content))
        offset = rng.randrange(len(content))
        whole, tail = await bodies.contents(owner, [body_id], 0), bodies.read(owner, body_id, offset)
        assert whole == [content]
        assert b"".join([piece async for piece in tail]) == content[offset:]


async def test_infos_are_what_mime_renders(db: Database) -> None:
    bodies, owner = Bodies(db), account()
    contents = [*messages(3, 20), multipart(attachment(random.Random(1), 90_000))]
    ids = [await insert(db, await bodies.prepare(owner, content)) for content in contents]
    gone = BodyId(uuid7())
    infos = await bodies.infos(owner, [*ids, gone, ids[0]], ALL)
    assert infos[-2] is None
    assert infos[-1] == infos[0]
    for content, info in zip(contents, infos, strict=False):
        part = scan(content)
        assert info is not None
        assert info.size == len(content)
        assert info.header == content[: part.body_start]
        assert info.header_size == part.body_start
        assert info.structure is not None
        assert Part.from_bytes(info.structure) == part
        assert info.envelope == envelope(content[: part.body_start])
        assert info.bodystructure == bodystructure(part, content)
        assert info.sort_keys == SortKeys.of(content[: part.body_start]).to_bytes()
    (only_sizes,) = await bodies.infos(owner, ids[:1], BodyField.NONE)
    assert only_sizes is not None
    assert (only_sizes.size, only_sizes.header, only_sizes.envelope) == (len(contents[0]), None, None)
    assert await bodies.infos(owner, [], ALL) == []


async def test_a_header_over_256_kb_is_read_by_range(db: Database) -> None:
    bodies, owner = Bodies(db), account()
    content = b"".join(b"X-%05d: %s\r\n" % (i, b"v" * 90) for i in range(4000)) + b"\r\nbody\r\n"
    body_id = await insert(db, await bodies.prepare(owner, content))
    (info,) = await bodies.infos(owner, [body_id], ALL)
    assert info is not None
    assert info.header is None
    header = [piece async for piece in bodies.read(owner, body_id, 0, info.header_size)]
    assert b"".join(header) + b"body\r\n" == content


async def test_bodies_from_before_there_were_sort_keys_have_them_too(db: Database) -> None:
    bodies, owner = Bodies(db), account()
    subject = b"Subject: Re: hello\r\n"
    filler = b"".join(b"X-%05d: %s\r\n" % (i, b"v" * 90) for i in range(4000))
    contents = [subject + b"\r\nbody", subject + filler + b"From: x@y\r\n\r\n", b"", *[subject * 2 + b"\r\n"] * 100]
    ids = [await insert(db, await bodies.prepare(owner, content)) for content in contents]
    stored = await bodies.infos(owner, ids, BodyField.SORT_KEYS)
    await db[schema.BODIES].update_many({"a": owner}, {"$unset": {"sort": 1}})
    gone = BodyId(uuid7())
    assert await bodies.infos(owner, [gone, *ids], BodyField.SORT_KEYS) == [None, *stored]
    assert stored[1] is not None
    assert stored[1].sort_keys == SortKeys(subject=b"HELLO", is_reply=True).to_bytes()


async def test_contents_stop_at_max_bytes_but_give_one(db: Database) -> None:
    bodies, owner = Bodies(db), account()
    contents = [b"Subject: %d\r\n\r\n" % i + b"x" * 1000 for i in range(100)]
    ids = [await insert(db, await bodies.prepare(owner, content)) for content in contents]
    size = len(contents[0])
    assert await bodies.contents(owner, ids, 0) == contents[:1]
    assert await bodies.contents(owner, ids, size * 3 + 5) == contents[:3]
    gone = BodyId(uuid7())
    assert await bodies.contents(owner, [gone, *ids], 0) == [None, contents[0]]
    assert len(await bodies.contents(owner, ids, size * 90)) > 64


async def test_bodies_of_another_account_are_not_there(db: Database) -> None:
    bodies, owner, other = Bodies(db), account(), account()
    body_id = await insert(db, await bodies.prepare(owner, b"Subject: mine\r\n\r\nsecret"))
    assert await bodies.infos(other, [body_id], ALL) == [None]
    assert await bodies.contents(other, [body_id], 1000) == [None]
    with pytest.raises(Refused) as refused:
        await anext(bodies.read(other, body_id))
    assert refused.value.code is RefusedCode.NO_MESSAGE


async def test_one_attachment_to_many_is_stored_once(own_db: Database) -> None:
    rng = random.Random(5)
    bodies = Bodies(own_db)
    shared = attachment(rng, 300_000)
    prepared = await bodies.prepare_for([account() for _ in range(50)], multipart(shared, subject="to fifty"))
    for one in prepared:
        await insert(own_db, one)
    await insert(own_db, await bodies.prepare(account(), multipart(attachment(rng, 10), shared, subject="forwarded")))
    assert await own_db[schema.BLOBS].count({}) == 1
    assert await own_db[schema.BLOB_CHUNKS].count({}) == 1
    assert len({one.body_id for one in prepared}) == 50


async def test_prepare_is_durable_before_the_document_is_inserted(own_db: Database) -> None:
    bodies = Bodies(own_db, clock=lambda: 12345)
    content = b"Subject: big\r\n\r\n" + random.Random(2).randbytes(CHUNK * 3)
    prepared = await bodies.prepare(account(), content)
    assert await own_db[schema.BODIES].count({}) == 0
    (head,) = await own_db[schema.BLOBS].find({})
    chunks = await own_db[schema.BLOB_CHUNKS].count({"h": head["_id"]})
    assert (head["chunks"], chunks, head["size"], head["touched"]) == (3, 3, CHUNK * 3, 12345)
    assert prepared.transaction_bytes < 8192


async def test_every_use_of_a_blob_touches_it(own_db: Database) -> None:
    now = 1000
    bodies, owner = Bodies(own_db, clock=lambda: now), account()
    content = b"\r\n" + random.Random(2).randbytes(100_000)
    await bodies.prepare(owner, content)
    now = 5000
    await bodies.prepare(owner, content)
    (head,) = await own_db[schema.BLOBS].find({})
    assert head["touched"] == 5000
    now = 4000  # a slower clock never takes it back
    await bodies.prepare(owner, content)
    (head,) = await own_db[schema.BLOBS].find({})
    assert head["touched"] == 5000


async def test_two_writers_of_one_content_leave_one_generation(own_db: Database) -> None:
    owner = account()
    content = b"\r\n" + random.Random(3).randbytes(CHUNK * 2 + 5)
    prepared = await asyncio.gather(*(Bodies(own_db).prepare(owner, content) for _ in range(8)))
    (head,) = await own_db[schema.BLOBS].find({})
    assert {document["_id"][:16] for document in await own_db[schema.BLOB_CHUNKS].find({})} == {head["gen"]}
    ids = [await insert(own_db, one) for one in prepared]
    assert await Bodies(own_db).contents(owner, ids[:1], 1) == [content]


async def test_damage_is_found_and_never_served(own_db: Database) -> None:
    bodies, owner = Bodies(own_db), account()
    content = multipart(attachment(random.Random(4), 200_000))
    prepared = await bodies.prepare(owner, content)
    body_id = await insert(own_db, prepared)
    assert await bodies.verify(prepared.document) is None
    (chunk,) = await own_db[schema.BLOB_CHUNKS].find({})
    other = await bodies.prepare(owner, multipart(attachment(random.Random(5), 200_000)))
    (foreign,) = await own_db[schema.BLOB_CHUNKS].find({"h": {"$ne": chunk["h"]}})
    await own_db[schema.BLOB_CHUNKS].update_one({"_id": chunk["_id"]}, {"$set": {"d": foreign["d"]}})
    assert "digest" in str(await bodies.verify(prepared.document))
    await own_db[schema.BLOB_CHUNKS].update_one({"_id": chunk["_id"]}, {"$set": {"d": chunk["d"][:-9]}})
    with pytest.raises(Internal):
        await bodies.contents(owner, [body_id], 1)
    await own_db[schema.BLOB_CHUNKS].delete_one({"_id": chunk["_id"]})
    with pytest.raises(Internal):
        _ = [piece async for piece in bodies.read(owner, body_id)]
    assert "lacks chunk" in str(await bodies.verify(prepared.document))
    assert await bodies.verify(other.document) is None


async def test_a_body_collected_while_it_is_read_is_gone_and_not_damaged(own_db: Database) -> None:
    bodies, owner = Bodies(own_db), account()
    body_id = await insert(own_db, await bodies.prepare(owner, b"\r\n" + random.Random(6).randbytes(CHUNK * 6)))
    reader = bodies.read(owner, body_id)
    await anext(reader)
    await own_db[schema.BODIES].delete_one({"_id": body_id})
    await own_db[schema.BLOB_CHUNKS].delete_many({})
    with pytest.raises(Refused) as refused:
        _ = [piece async for piece in reader]
    assert refused.value.code is RefusedCode.NO_MESSAGE


async def test_a_body_collected_between_the_queries_of_contents_is_gone(
    own_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies, owner = Bodies(own_db), account()
    ids = [await insert(own_db, await bodies.prepare(owner, b"\r\n%d" % n * 50_000)) for n in range(3)]
    heads = bodies.blobs.heads

    async def collected_then_heads(digests: Sequence[bytes]) -> Mapping[bytes, BlobHead]:
        (body,) = await own_db[schema.BODIES].find({"_id": ids[1]})
        await own_db[schema.BODIES].delete_one({"_id": ids[1]})
        await own_db[schema.BLOBS].delete_one({"_id": body["blobs"][0]})
        monkeypatch.setattr(bodies.blobs, "heads", heads)
        return await heads(digests)

    monkeypatch.setattr(bodies.blobs, "heads", collected_then_heads)
    first, second, third = await bodies.contents(owner, ids, 1 << 30)
    assert (first is None, second, third is None) == (False, None, False)


async def test_blob_ranges(own_db: Database) -> None:
    bodies, blobs = Bodies(own_db), Blobs(own_db)
    data = random.Random(8).randbytes(CHUNK * 2 + 100)
    prepared = await bodies.prepare(account(), b"\r\n" + data)
    (head,) = (await blobs.heads(prepared.document["blobs"])).values()
    for offset, length in ((0, 1), (CHUNK - 1, 2), (CHUNK, CHUNK), (CHUNK * 2, 100), (5, CHUNK * 2), (7, 0)):
        assert b"".join([p async for p in blobs.read(head, offset, length)]) == data[offset : offset + length]


async def test_the_same_attachment_twice_is_one_blob_of_the_document(own_db: Database) -> None:
    part = attachment(random.Random(9), 80_000)
    prepared = await Bodies(own_db).prepare(account(), multipart(part, part))
    assert len(prepared.document["blobs"]) == 1
    used = [s.blob for s in segments_of(prepared.document) if s.source >= Source.FIRST_BLOB]
    assert used == [0, 0]
