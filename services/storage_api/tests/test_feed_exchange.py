"""The stream on RabbitMQ: in order, confirmed, and again from where the broker went away."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mailboat_common.bus import Topology
from mailboat_common.ids import encode_id
from mailboat_store_client.types import AccountId
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.feed.event import Event
from storage_api.feed.exchange import ExchangeFeed, waves
from storage_api.feed.relay import Relay
from storage_api.feed.stream import Stream
from storage_api.store import outbox
from storage_api.store.outbox import Kind

from tests.support.store import new_account


class Broker:
    """The part of `Bus` that the feed uses; `refuse` are numbers of publishes (from 1) that aren't confirmed."""

    def __init__(self) -> None:
        self.connected = True
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.refuse: set[int] = set()

    def declare_topology(self, topology: Topology) -> None:
        assert [exchange.name for exchange in topology.exchanges] == ["mailboat.public"]

    async def publish_confirmed(self, exchange: str, key: str, body: bytes, **options: Any) -> bool:
        event = json.loads(body)
        assert exchange == "mailboat.public"
        assert options == {"mandatory": False, "message_id": event["id"], "content_type": "application/json"}
        self.published.append((key, event))
        return len(self.published) not in self.refuse

    def seqs(self, account_id: AccountId) -> list[int]:
        return [event["seq"] for _, event in self.published if event["account_id"] == encode_id(account_id)]


@pytest.fixture
async def stream(db: Database) -> AsyncIterator[Stream]:
    for collection in (schema.OUTBOX, schema.STREAM):
        await db[collection].delete_many({})
    head = await db[schema.FEEDS].find_one({"_id": "head"})
    assert head is not None
    await db[schema.FEEDS].update_one({"_id": "head"}, {"$set": {"floor": head["next"]}})
    start = {"position": head["next"] - 1, "holder": "", "until": 0}
    await db[schema.FEEDS].update_one({"_id": "exchange"}, {"$set": start})
    yield Stream(db)


async def emit(db: Database, *accounts: AccountId) -> None:
    for account_id in accounts:
        async with db.session() as session:
            await session.begin()
            await outbox.emit(db, session, account_id, Kind.ACCOUNT_ENABLED, {}, now=1)
            await session.commit()
    while await Relay(db).run(0):
        pass


def feed_of(db: Database, stream: Stream, broker: Broker) -> ExchangeFeed:
    return ExchangeFeed(db, broker, stream, "mailboat.public", clock=lambda: 1_000)  # type: ignore[arg-type]


async def test_each_event_is_published_once_under_its_type(db: Database, stream: Stream) -> None:
    account_id, broker = await new_account(db), Broker()
    feed = feed_of(db, stream, broker)
    await emit(db, account_id, account_id)
    for _ in range(3):
        assert not await feed.run(1_000)
    assert [key for key, _ in broker.published] == ["account.enabled"] * 2
    assert broker.seqs(account_id) == [1, 2]


async def test_what_is_not_confirmed_is_published_again_and_nothing_of_its_account_before(
    db: Database, stream: Stream
) -> None:
    first, second = await new_account(db), await new_account(db)
    broker = Broker()
    feed = feed_of(db, stream, broker)
    await emit(db, first, second, first, second)
    broker.refuse = {1}
    await feed.run(1_000)
    assert broker.seqs(first) == [1]
    await feed.run(1_000)
    assert broker.seqs(first) == [1, 1, 2]
    assert Counter(broker.seqs(second)) == {1: 2, 2: 1}
    broker.connected = False
    await emit(db, first)
    assert not await feed.run(1_000)
    broker.connected = True
    await feed.run(1_000)
    assert broker.seqs(first) == [1, 1, 2, 3]


async def test_a_worker_publishes_alone_until_its_lease_ends(db: Database, stream: Stream) -> None:
    account_id, broker = await new_account(db), Broker()
    await db[schema.FEEDS].update_one({"_id": "exchange"}, {"$set": {"holder": b"another", "until": 2_000}})
    await emit(db, account_id)
    feed = feed_of(db, stream, broker)
    await feed.run(1_999)
    assert broker.published == []
    await feed.run(2_000)
    assert broker.seqs(account_id) == [1]


def test_waves_hold_no_account_twice() -> None:
    events = [Event(n, str(n), "k", 0, account, 1, "", "", {}) for n, account in enumerate("abacca")]
    assert ["".join(e.account_id for e in wave) for wave in waves(events, 3)] == ["ab", "ac", "ca"]
    assert [len(wave) for wave in waves([Event(n, "", "k", 0, "", 0, "", "", {}) for n in range(7)], 3)] == [3, 3, 1]
