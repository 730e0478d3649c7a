"""Events for other systems: written with what they tell of, relayed once and in order, read without a gap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from mailboat_common.errors import RefusedCode
from mailboat_common.ids import encode_id
from mailboat_store_client.types import AccountId, DeliveryStatus
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.feed import relay as relay_module
from storage_api.feed.event import Event
from storage_api.feed.relay import Relay
from storage_api.feed.stream import Stream
from storage_api.store import outbox
from storage_api.store.mongo import MongoStore
from storage_api.store.outbox import Kind

from tests.support.store import MESSAGE, envelope, new_account


@pytest.fixture
async def stream(db: Database) -> AsyncIterator[Stream]:
    """The stream, empty but for its numbering: tests share a database."""
    for collection in (schema.OUTBOX, schema.STREAM):
        await db[collection].delete_many({})
    head = await db[schema.FEEDS].find_one({"_id": "head"})
    assert head is not None
    await db[schema.FEEDS].update_one({"_id": "head"}, {"$set": {"floor": head["next"]}})
    yield Stream(db)


async def relay_all(db: Database) -> None:
    while await Relay(db).run(0):
        pass


async def all_after(stream: Stream, position: int, page: int = 100) -> list[Event]:
    events: list[Event] = []
    while found := (await stream.after(position, page)).events:
        events += found
        position = events[-1].position
    return events


async def test_a_delivery_writes_its_event_in_its_transaction(db: Database, store: MongoStore, stream: Stream) -> None:
    account_id = await new_account(db)
    before = (await stream.head()).last
    sent = envelope(account_id)
    (result,) = (await store.delivery.deliver(sent, MESSAGE)).recipients
    assert (await stream.after(before, 10)).events == ()
    await relay_all(db)
    (event,) = (await stream.after(before, 10)).events
    assert (event.kind, event.account_id, event.seq, event.position) == (
        "message.received",
        encode_id(account_id),
        1,
        before + 1,
    )
    assert result.mailbox_id is not None
    assert event.data == {
        "message": f"{encode_id(result.mailbox_id)}.{result.uid}",
        "mailbox": "INBOX",
        "sender": "s@elsewhere.example",
        "recipient": sent.recipients[0].address,
        "size": len(MESSAGE),
        "trace_id": sent.trace_id,
    }
    assert await db[schema.OUTBOX].count({}) == 0


async def test_a_repeat_a_duplicate_and_a_refusal_write_none(db: Database, store: MongoStore, stream: Stream) -> None:
    account_id, full = await new_account(db), await new_account(db, quota=10)
    first = envelope(account_id)
    await store.delivery.deliver(first, MESSAGE)
    await store.delivery.deliver(first, MESSAGE)
    again = await store.delivery.deliver(envelope(account_id), MESSAGE)
    assert again.recipients[0].status is DeliveryStatus.DUPLICATE
    refused = await store.delivery.deliver(envelope(full), MESSAGE)
    assert refused.recipients[0].status.name == RefusedCode.OVER_QUOTA.name
    accounts = {d["_id"]: d["seq"] for d in await db[schema.ACCOUNTS].find({"_id": {"$in": [account_id, full]}})}
    assert accounts == {account_id: 1, full: 0}
    assert sum([len(d["e"]) for d in await db[schema.OUTBOX].find({})]) == 1


async def test_a_store_without_events_writes_none(db: Database, stream: Stream) -> None:
    account_id = await new_account(db)
    store = MongoStore(db, with_events=False)
    await store.delivery.deliver(envelope(account_id), MESSAGE)
    assert await db[schema.OUTBOX].count({}) == 0
    await store.committer.close()


async def test_two_stores_and_two_relays_keep_every_account_in_order(
    db: Database, store: MongoStore, second: MongoStore, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "DOCUMENTS", 3)
    monkeypatch.setattr(relay_module, "SEGMENT_EVENTS", 4)
    accounts = [await new_account(db) for _ in range(5)]
    before = (await stream.head()).last
    done = asyncio.Event()

    async def relay(other: Database) -> None:
        while not done.is_set():
            await Relay(other).run(0)
            await asyncio.sleep(0)

    relays = [asyncio.create_task(relay(each)) for each in (db, second.db)]
    for number in range(12):
        await asyncio.gather(
            *(
                each.delivery.deliver(envelope(*accounts, content=b"%d" % number, reverse_path=str(which)), MESSAGE)
                for which, each in enumerate((store, second))
            )
        )
    done.set()
    await asyncio.gather(*relays)
    await relay_all(db)
    events = await all_after(stream, before, page=7)
    assert [event.position for event in events] == list(range(before + 1, before + 1 + 120))
    assert len({event.event_id for event in events}) == 120
    for account_id in accounts:
        mine = [event.seq for event in events if event.account_id == encode_id(account_id)]
        assert mine == list(range(1, 25))


async def test_an_account_keeps_its_order_though_pods_disagree_about_the_time(db: Database, stream: Stream) -> None:
    account_id = await new_account(db)
    before = (await stream.head()).last
    now = time.time_ns() // 1_000_000
    for at in (now, now - 60_000, now - 120_000):
        slow = MongoStore(db)
        slow.committer._clock = lambda at=at: at  # type: ignore[misc]
        await slow.delivery.deliver(envelope(account_id, content=str(at).encode()), MESSAGE)
        await slow.committer.close()
    await relay_all(db)
    events = await all_after(stream, before)
    assert [(event.seq, event.at) for event in events] == [(1, now), (2, now - 60_000), (3, now - 120_000)]


async def test_events_that_commit_late_are_behind_those_read_before(db: Database, stream: Stream) -> None:
    first, late = await new_account(db), await new_account(db)
    before = (await stream.head()).last
    async with db.session() as slow:
        await slow.begin()
        await outbox.emit(db, slow, late, Kind.ACCOUNT_ENABLED, {}, now=1)
        await _emit(db, first)
        await relay_all(db)
        assert [event.account_id for event in await all_after(stream, before)] == [encode_id(first)]
        await slow.commit()
    await relay_all(db)
    assert [event.account_id for event in await all_after(stream, before)] == [encode_id(first), encode_id(late)]


async def test_what_was_removed_is_told(db: Database, stream: Stream) -> None:
    account_id = await new_account(db)
    before = (await stream.head()).last
    for _ in range(5):
        await _emit(db, account_id)
        await relay_all(db)
    relay, now = Relay(db), time.time_ns() // 1_000_000
    assert not await relay.prune(now, keep_ms=60_000, keep_events=100)
    assert not (await stream.after(before, 10)).lost
    assert not await relay.prune(now, keep_ms=60_000, keep_events=2)
    page = await stream.after(before, 10)
    assert (page.lost, [event.seq for event in page.events]) == (True, [4, 5])
    assert not (await stream.after(before + 3, 10)).lost
    await relay.prune(now + 120_000, keep_ms=60_000, keep_events=100)
    page = await stream.after(before, 10)
    assert (page.lost, page.events) == (True, ())
    assert not (await stream.after(before + 5, 10)).lost


async def test_a_moment_leads_to_a_position(db: Database, stream: Stream) -> None:
    account_id = await new_account(db)
    before = (await stream.head()).last
    for number in range(7):
        for _ in range(number % 3 + 1):
            await _emit(db, account_id)
        await relay_all(db)
        await db[schema.STREAM].update_many({"at": {"$gt": 1000}}, {"$set": {"at": number * 10}})
    segments = await db[schema.STREAM].find({}, sort=[("_id", 1)])
    assert await stream.before(0) == before
    for segment in segments:
        assert await stream.before(segment["at"]) == segment["_id"] - 1
        assert await stream.before(segment["at"] + 1) == segment["_id"] + segment["n"] - 1


async def test_whoever_waits_is_woken_and_reads_what_is_shared(db: Database, stream: Stream) -> None:
    account_id = await new_account(db)
    before = (await stream.head()).last

    async def reader() -> list[int]:
        position, seen = before, list[int]()
        while len(seen) < 3:
            await stream.moved(position, 30)
            for event in (await stream.after(position, 2)).events:
                position = event.position
                seen.append(event.seq)
        return seen

    readers = [asyncio.create_task(reader()) for _ in range(10)]
    for _ in range(3):
        await _emit(db, account_id)
        await relay_all(db)
    async with asyncio.timeout(30):
        assert await asyncio.gather(*readers) == [[1, 2, 3]] * 10
    await stream.moved(before + 3, 0.01)


async def _emit(db: Database, account_id: AccountId) -> None:
    async with db.session() as session:
        await session.begin()
        await outbox.emit(db, session, account_id, Kind.ACCOUNT_ENABLED, {}, now=time.time_ns() // 1_000_000)
        await session.commit()
