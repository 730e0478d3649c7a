"""Jobs of the outbound queue: published after a commit, by schedule, and again when RabbitMQ forgot them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from mailboat_common.bus import Bus, Topology, WorkQueue
from mailboat_common.ids import uuid7
from mailboat_store_client.jobs import DELIVERY, decode_job, encode_job
from mailboat_store_client.queue import Job, QueueId
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.queue.documents import REPUBLISH_MS
from storage_api.queue.publish import JobPublisher
from storage_api.queue.scheduler import MOST_JOBS, Scheduler
from storage_api.store.mongo import MongoStore

from tests.support.rabbitmq import RabbitNode

NOW = 1_800_000_000_000


class Broker:
    """The part of `Bus` that a publisher uses."""

    def __init__(self) -> None:
        self.connected = True
        self.waiting = 0
        self.jobs: list[Job] = []

    def declare_topology(self, topology: Topology) -> None:
        assert topology.queues == (DELIVERY,)

    async def publish_confirmed(self, exchange: str, key: str, body: bytes, *, timeout: float) -> bool:  # noqa: ASYNC109
        assert (exchange, key) == ("", DELIVERY.name)
        assert timeout > 0
        if self.connected:
            self.jobs.append(decode_job(body))
        return self.connected

    async def depth(self, _queue: WorkQueue) -> int | None:
        return self.waiting if self.connected else None


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def empty(db: Database) -> AsyncIterator[None]:
    """No documents of other tests; those of this one go."""
    await db[schema.QUEUE].delete_many({})
    yield
    await db[schema.QUEUE].delete_many({})


@pytest.fixture
def publisher(db: Database, broker: Broker, empty: None) -> JobPublisher:
    return JobPublisher(db, broker, lambda: NOW)  # type: ignore[arg-type]


@pytest.fixture
def scheduler(db: Database, store: MongoStore, publisher: JobPublisher) -> Scheduler:
    return Scheduler(db, store.queue, publisher)


async def until(condition: Callable[[], Awaitable[int]]) -> None:
    """Waits until it isn't 0."""
    async with asyncio.timeout(60):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


async def empty_again(bus: Bus) -> bool:
    return await bus.depth(DELIVERY) == 0


async def put(db: Database, count: int = 1, **fields: object) -> list[Document]:
    documents: list[Document] = [
        {
            "_id": uuid7(),
            "t": "t",
            "domain": "far.example",
            "reverse_path": "",
            "envid": "",
            "ret": "",
            "content": b"",
            "state": "ready",
            "attempt": 3,
            "created_at": NOW - 60_000,
            "expires_at": NOW + 10**9,
            "recipients": [{"address": "x@far.example", "notify": "", "orcpt": "", "state": "pending", "attempts": 2}],
            "due": NOW,
            **fields,
        }
        for _ in range(count)
    ]
    await db[schema.QUEUE].insert_many(documents)
    return documents


async def test_what_is_due_is_published_once_a_minute(db: Database, scheduler: Scheduler, broker: Broker) -> None:
    (document,) = await put(db)
    await put(db, due=NOW + 1)
    await put(db, state="held")
    assert await scheduler.run(NOW) is False
    job = Job(QueueId(document["_id"]), 3, "far.example")
    assert broker.jobs == [job]
    found = await db[schema.QUEUE].find_one({"_id": document["_id"]})
    assert found is not None
    assert (found["published_at"], found["due"], found["state"]) == (NOW, NOW + REPUBLISH_MS, "ready")
    await db[schema.QUEUE].delete_many({"due": NOW + 1})
    await scheduler.run(NOW + REPUBLISH_MS - 1)
    assert broker.jobs == [job]
    await scheduler.run(NOW + REPUBLISH_MS)
    assert broker.jobs == [job, job]


async def test_nothing_is_noted_while_rabbitmq_is_away(db: Database, scheduler: Scheduler, broker: Broker) -> None:
    await put(db, 3)
    broker.connected = False
    assert await scheduler.run(NOW) is False
    assert await db[schema.QUEUE].count({"published_at": {"$exists": True}}) == 0
    broker.connected = True
    await scheduler.run(NOW)
    assert len(broker.jobs) == 3


async def test_rabbitmqs_queue_doesnt_grow_without_bound(db: Database, scheduler: Scheduler, broker: Broker) -> None:
    await put(db, 5)
    broker.waiting = MOST_JOBS - 2
    await scheduler.run(NOW)
    assert len(broker.jobs) == 2
    broker.waiting = MOST_JOBS
    await scheduler.run(NOW)
    assert len(broker.jobs) == 2


async def test_a_full_round_says_that_more_is_due(db: Database, scheduler: Scheduler, broker: Broker) -> None:
    await put(db, 250)
    assert await scheduler.run(NOW) is True
    assert await scheduler.run(NOW) is False
    assert len({job.queue_id for job in broker.jobs}) == 250


async def test_claims_whose_lease_has_ended_are_taken_back_and_published(
    db: Database, scheduler: Scheduler, broker: Broker
) -> None:
    past = time.time_ns() // 1_000_000 - 1
    (document,) = await put(db, state="claimed", due=past, lease_until=past, token=bytes(16), worker="w")
    later = time.time_ns() // 1_000_000 + 60_000
    await scheduler.run(later)
    assert broker.jobs == [Job(QueueId(document["_id"]), 4, "far.example")]


async def test_a_commits_jobs_are_published_at_once(db: Database, publisher: JobPublisher, broker: Broker) -> None:
    (document,) = await put(db, due=NOW + 2000)
    publisher.queued([Job(QueueId(document["_id"]), 3, "far.example")])
    await until(lambda: db[schema.QUEUE].count({"published_at": NOW, "due": NOW + REPUBLISH_MS}))
    assert len(broker.jobs) == 1


async def test_a_job_published_late_leaves_the_next_attempts_time_alone(db: Database, publisher: JobPublisher) -> None:
    (document,) = await put(db, attempt=4, due=NOW + 300_000)
    assert await publisher.publish([Job(QueueId(document["_id"]), 3, "far.example")]) == 1
    found = await db[schema.QUEUE].find_one({"_id": document["_id"]})
    assert found is not None
    assert found["due"] == NOW + 300_000


async def test_metrics_count_what_waits(db: Database, scheduler: Scheduler) -> None:
    await put(db, 2)
    await put(db, 1, state="held", created_at=NOW - 120_000)
    await put(db, 1, state="done", created_at=0)
    assert await scheduler.count(NOW) is False


def test_a_job_survives_its_encoding_and_nonsense_is_none() -> None:
    job = Job(QueueId(uuid7()), 7, "far.example")
    assert decode_job(encode_job(job)) == job
    for body in (b"", b"\xff\xff", encode_job(Job(QueueId(b"short"), 1, ""))):
        with pytest.raises(ValueError, match="DeliveryJob"):
            decode_job(body)


async def test_a_wiped_rabbitmq_gets_every_job_again(
    db: Database, store: MongoStore, empty: None, tmp_path: Path
) -> None:
    node = RabbitNode(tmp_path / "rabbit")
    await asyncio.to_thread(node.start)
    bus = Bus(node.url, "test")
    publisher = JobPublisher(db, bus, lambda: NOW)
    scheduler = Scheduler(db, store.queue, publisher)
    running = asyncio.create_task(bus.run())
    try:
        await put(db, 3)
        async with asyncio.timeout(60):
            await bus.wait_connected()
            await scheduler.run(NOW)
            assert await bus.depth(DELIVERY) == 3
            await asyncio.to_thread(node.kill)
            node.wipe()
            await asyncio.to_thread(node.start)
            await until(lambda: empty_again(bus))
            await scheduler.run(NOW + REPUBLISH_MS)
            assert await bus.depth(DELIVERY) == 3
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await bus.close()
        await asyncio.to_thread(node.close)


async def test_what_was_claimed_before_its_note_is_left_alone(
    db: Database, publisher: JobPublisher, broker: Broker
) -> None:
    waits, claimed = await put(db, 2, due=NOW + 2000)
    publisher.queued([Job(QueueId(d["_id"]), 3, "far.example") for d in (waits, claimed)])
    await db[schema.QUEUE].update_one({"_id": claimed["_id"]}, {"$set": {"state": "claimed", "due": NOW + 120_000}})
    await until(lambda: db[schema.QUEUE].count({"_id": waits["_id"], "published_at": NOW}))
    found = await db[schema.QUEUE].find_one({"_id": claimed["_id"]})
    assert found is not None
    assert (found["due"], "published_at" in found) == (NOW + 120_000, False)
    assert len(broker.jobs) == 2
