"""The outbound queue's documents: where a message lies and when it goes, what reports decide, what a trace says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from mailboat_common import metrics
from mailboat_common.ids import trace_id
from mailboat_store_client.queue import AttemptReport, Claimed, Job, Outcome, Phases, RecipientReport, Transport
from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.queue import contents
from storage_api.queue.documents import KEEP_DONE_MS, job_of
from storage_api.queue.retry import RetrySchedule
from storage_api.queue.transports import FRESH_MS, Transports, TransportTable
from storage_api.store.committer import Committer
from storage_api.store.hooks import Hooks, TraceEvent
from storage_api.store.mongo import MongoStore

from tests.support.store import MESSAGE, new_account

BIG = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 150_000


class Clock:
    """ms since the epoch, as a test wants it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trace() -> list[TraceEvent]:
    return []


@pytest.fixture
def jobs() -> list[Job]:
    return []


@pytest.fixture
async def store(db: Database, clock: Clock, trace: list[TraceEvent], jobs: list[Job]) -> AsyncIterator[MongoStore]:
    hooks = Hooks(on_trace=trace.extend, on_queued=jobs.extend)
    made = MongoStore(db, hooks)
    await made.committer.close()
    made.committer = Committer(db, hooks, clock=clock)
    for port in (made.delivery, made.queue):
        port._committer = made.committer
    yield made
    await made.committer.close()


@pytest.fixture
async def account(db: Database) -> AccountId:
    return await new_account(db)


async def submit(store: MongoStore, account: AccountId, *addresses: str, content: bytes = MESSAGE) -> str:
    recipients = tuple(EnvelopeRecipient(address, NO_ACCOUNT) for address in addresses)
    mail = Envelope(trace_id(), "a@example.test", recipients, os.urandom(32), account_id=account)
    await store.delivery.deliver(mail, content)
    return mail.trace_id


async def documents(db: Database, trace: str) -> list[Document]:
    return await db[schema.QUEUE].find({"t": trace}, sort=[("domain", 1)])


async def claim(store: MongoStore, document: Document) -> Claimed:
    (claimed,) = await store.queue.claim([job_of(document)], "w", max_bytes=0, key=os.urandom(16))
    assert claimed is not None
    return claimed


async def end(store: MongoStore, document: Document, outcome: Outcome, status: str = "2.0.0") -> None:
    claimed = await claim(store, document)
    results = tuple(RecipientReport(r.address, outcome, status, f"{status} said") for r in claimed.recipients)
    report = AttemptReport(claimed.queue_id, claimed.token, results, phases=Phases(lookup=0, connect=12, reply=40))
    assert await store.queue.report([report]) == [True]


def conflicts() -> float:
    return metrics.REGISTRY.get_sample_value("mailboat_storage_commit_conflicts_total") or 0.0


async def parts(db: Database, content_id: bytes) -> int:
    span = {"$gte": contents.part_id(content_id, 0), "$lte": contents.part_id(content_id, 0xFFFFFFFF)}
    return await db[schema.QUEUE_PARTS].count({"_id": span})


async def test_a_commit_tells_its_jobs_and_its_trace(
    store: MongoStore, db: Database, account: AccountId, jobs: list[Job], trace: list[TraceEvent]
) -> None:
    mail = await submit(store, account, "x@far.example", "y@near.example", "z@near.example")
    assert jobs == [job_of(document) for document in await documents(db, mail)]
    queued = [event for event in trace if event.kind == "queued"]
    assert [(e.trace_id, e.account_id, e.details["domain"]) for e in queued] == [
        (mail, account, "far.example"),
        (mail, account, "near.example"),
    ]
    assert trace[0].details["recipient"] == "x@far.example"
    assert trace[1].details["recipients"] == 2


async def test_a_small_message_of_one_document_lies_in_it(store: MongoStore, db: Database, account: AccountId) -> None:
    content = b"Return-Path: <a@example.test>\r\nReceived: x\r\n" + MESSAGE
    (document,) = await documents(db, await submit(store, account, "x@far.example", content=content))
    assert document["content"] == b"Received: x\r\n" + MESSAGE, "Return-Path is for final delivery"
    assert "content_id" not in document


@pytest.mark.parametrize("content", [MESSAGE, BIG], ids=["small", "big"])
async def test_a_message_is_kept_once_until_its_last_document_is_done(
    store: MongoStore, db: Database, account: AccountId, content: bytes
) -> None:
    mail = await submit(store, account, "x@far.example", "y@near.example", content=content)
    first, second = await documents(db, mail)
    content_id = first["content_id"]
    assert second["content_id"] == content_id
    assert await parts(db, content_id) == -(-len(content) // contents.PART_BYTES)
    await end(store, first, Outcome.DELIVERED)
    assert await parts(db, content_id)
    assert await contents.fetch(db, second) == content
    await end(store, second, Outcome.DELIVERED)
    assert await parts(db, content_id) == 0


async def test_what_is_done_stays_as_proof_for_a_month(
    store: MongoStore, db: Database, account: AccountId, clock: Clock, trace: list[TraceEvent]
) -> None:
    mail = await submit(store, account, "x@far.example")
    await end(store, (await documents(db, mail))[0], Outcome.DELIVERED)
    (document,) = await documents(db, mail)
    assert document["state"] == "done"
    assert not {"content", "content_id", "due", "lease_until"} & document.keys()
    assert document["expires"].timestamp() * 1000 == clock.now + KEEP_DONE_MS
    (recipient,) = document["recipients"]
    assert (recipient["state"], recipient["attempts"], recipient["last"]["reply"]) == ("delivered", 1, "2.0.0 said")
    assert [event.kind for event in trace] == ["queued", "received", "attempt", "delivered"]
    assert (trace[-1].details["status"], trace[-1].details["attempt"]) == ("2.0.0", 1)
    assert trace[-1].details["phases"] == {"lookup": 0, "connect": 12, "reply": 40}, "what there wasn't isn't told"


async def test_what_is_deferred_comes_back_by_the_schedule(
    store: MongoStore, db: Database, account: AccountId, clock: Clock
) -> None:
    mail = await submit(store, account, "x@far.example")
    await end(store, (await documents(db, mail))[0], Outcome.DEFERRED, "4.2.0")
    (document,) = await documents(db, mail)
    assert (document["state"], document["attempt"]) == ("ready", 2)
    assert document["due"] == document["next_attempt"]
    assert RetrySchedule().first_ms <= document["due"] - clock.now < 2 * RetrySchedule().first_ms


async def test_a_message_is_given_up_after_its_life(
    store: MongoStore, db: Database, account: AccountId, clock: Clock, trace: list[TraceEvent]
) -> None:
    mail = await submit(store, account, "x@far.example")
    clock.now += RetrySchedule().lifetime_ms
    await end(store, (await documents(db, mail))[0], Outcome.DEFERRED, "4.2.0")
    (document,) = await documents(db, mail)
    assert document["state"] == "done"
    (recipient,) = document["recipients"]
    assert (recipient["state"], recipient["expired"], recipient["last"]["status"]) == ("failed", True, "4.2.0")
    told = [(e.kind, e.details.get("expired")) for e in trace if e.trace_id == mail]
    assert told[-2:] == [("failed", True), ("notice", None)]


async def test_a_worker_that_died_is_no_fault_of_the_message(
    store: MongoStore, db: Database, account: AccountId, clock: Clock
) -> None:
    mail = await submit(store, account, "x@far.example")
    for lapses in (1, 2):
        (document,) = await documents(db, mail)
        claimed = await claim(store, document)
        assert await store.queue.end_leases([(claimed.queue_id, claimed.token)]) == 0, "the lease runs"
        clock.now = claimed.lease_until
        assert await store.queue.end_leases([(claimed.queue_id, claimed.token)]) == 1
        (document,) = await documents(db, mail)
        assert (document["state"], document["attempt"], document["lapses"]) == ("ready", lapses + 1, lapses)
        assert (document["due"] == clock.now) is (lapses == 1), "once it is tried again at once"
        assert document["recipients"][0]["last"]["reason"] == "The attempt was broken off"


async def test_a_renewed_lease_isnt_taken_back(
    store: MongoStore, db: Database, account: AccountId, clock: Clock
) -> None:
    claimed = await claim(store, (await documents(db, await submit(store, account, "x@far.example")))[0])
    clock.now = claimed.lease_until - 1
    assert await store.queue.renew([(claimed.queue_id, claimed.token)]) == [True]
    clock.now += 2
    assert await store.queue.end_leases([(claimed.queue_id, claimed.token)]) == 0


async def test_a_hold_during_an_attempt_holds_it_afterwards(
    store: MongoStore, db: Database, account: AccountId
) -> None:
    mail = await submit(store, account, "x@far.example")
    await db[schema.QUEUE].update_one({"t": mail}, {"$set": {"hold": True}})
    await end(store, (await documents(db, mail))[0], Outcome.DEFERRED, "4.2.0")
    (document,) = await documents(db, mail)
    assert document["state"] == "held"
    assert not {"due", "hold"} & document.keys()


async def test_messages_nobody_names_are_swept_after_a_day(db: Database, clock: Clock) -> None:
    orphan = contents.content_id_of(os.urandom(16))
    await contents.keep(db, orphan, BIG, clock.now)
    await contents.keep(db, orphan, BIG, clock.now)
    await contents.sweep_orphans(db, clock.now + contents.ORPHAN_MS)
    assert await parts(db, orphan)
    await contents.sweep_orphans(db, clock.now + contents.ORPHAN_MS + 1)
    assert not await parts(db, orphan)


async def test_a_message_that_waits_for_days_isnt_swept(
    store: MongoStore, db: Database, account: AccountId, clock: Clock
) -> None:
    document = (await documents(db, await submit(store, account, "x@far.example", content=BIG)))[0]
    await contents.sweep_orphans(db, clock.now + 2 * contents.ORPHAN_MS)
    assert await contents.fetch(db, document) == BIG


async def test_reports_and_submissions_of_an_account_never_conflict(
    store: MongoStore, db: Database, account: AccountId
) -> None:
    before = conflicts()
    for _ in range(5):
        mails = await asyncio.gather(*[submit(store, account, "x@far.example") for _ in range(8)])
        jobs = [job_of(document) for mail in mails for document in await documents(db, mail)]
        claimed = await store.queue.claim(jobs, "w", max_bytes=0, key=os.urandom(16))
        reports = [
            AttemptReport(one.queue_id, one.token, (RecipientReport("x@far.example", Outcome.DELIVERED, "2.0.0"),))
            for one in claimed
            if one is not None
        ]
        again = [submit(store, account, "y@far.example") for _ in range(8)]
        taken, *_ = await asyncio.gather(store.queue.report(reports), *again)
        assert taken == [True] * 8
    assert conflicts() == before


async def test_claims_follow_the_transport_table_within_two_seconds(db: Database, clock: Clock) -> None:
    table = TransportTable(db, clock)
    near = Transport("near.example", 2525)
    mx = Transport()
    operators, elsewhere = Transports(db, table.forget), Transports(db)
    assert await table.look_up(["a.example", "b.example"]) == {"a.example": mx, "b.example": mx}
    await operators.put("a.example", near)
    assert await table.look_up(["a.example"]) == {"a.example": near}, "this process's own change counts at once"
    await elsewhere.put("*", Transport("relay.example"))
    clock.now += FRESH_MS
    assert await table.look_up(["a.example", "b.example"]) == {
        "a.example": near,
        "b.example": Transport("relay.example"),
    }
    await operators.remove("a.example")
    await operators.remove("*")
    assert await table.look_up(["a.example", "b.example"]) == {"a.example": mx, "b.example": mx}
