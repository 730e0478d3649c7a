"""The audit of mail out: a queue that only worked has no finding, and every planted fault is found."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from mailboat_common.ids import trace_id
from mailboat_store_client.queue import AttemptReport, Outcome, RecipientReport
from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.queue.documents import job_of
from storage_api.queue.operators import Action, QueueOperators, Selection
from storage_api.store.audit import Finding, FindingKind, Summary, audit
from storage_api.store.blobs import now_ms
from storage_api.store.hooks import Hooks
from storage_api.store.mongo import MongoStore

from tests.support.mongod import Mongod
from tests.support.planted import empty_database
from tests.support.store import MESSAGE, new_account

BIG = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 150_000


@pytest.fixture
async def own(mongod: Mongod) -> AsyncIterator[Database]:
    """A database that no other test writes to."""
    async with empty_database(mongod.uri, "audit_queue") as database:
        yield database


@pytest.fixture
async def store(own: Database) -> AsyncIterator[MongoStore]:
    made = MongoStore(own)
    yield made
    await made.committer.close()


async def submit(
    store: MongoStore, account: AccountId, *domains: str, content: bytes = MESSAGE, reverse_path: str = "a@example.test"
) -> None:
    recipients = tuple(EnvelopeRecipient(f"x@{domain}", NO_ACCOUNT) for domain in domains)
    mail = Envelope(trace_id(), reverse_path, recipients, os.urandom(32), account_id=account)
    await store.delivery.deliver(mail, content)
    await store.delivery.deliver(mail, content)


async def end(db: Database, store: MongoStore, domain: str, outcome: Outcome) -> None:
    document = await db[schema.QUEUE].find_one({"domain": domain})
    assert document is not None
    (claimed,) = await store.queue.claim([job_of(document)], "w", max_bytes=0, key=os.urandom(16))
    assert claimed is not None
    results = tuple(RecipientReport(r.address, outcome, "5.0.0") for r in claimed.recipients)
    assert await store.queue.report([AttemptReport(claimed.queue_id, claimed.token, results)]) == [True]


async def everything(db: Database, now: int | None = None) -> tuple[list[Finding], Summary]:
    found = [finding async for finding in audit(db, now=now)]
    *findings, summary = found
    assert isinstance(summary, Summary)
    return [finding for finding in findings if isinstance(finding, Finding)], summary


async def test_everything_queued_is_accounted_for(own: Database, store: MongoStore) -> None:
    account = await new_account(own)
    await submit(store, account, "wait.example", "sent.example", "bad.example", "gone.example", reverse_path="")
    await submit(store, account, "big.example", "large.example", content=BIG)
    await end(own, store, "sent.example", Outcome.DELIVERED)
    await end(own, store, "bad.example", Outcome.FAILED)
    operators = QueueOperators(own, store.committer, Hooks(), now_ms)
    assert await operators.act(Action.REMOVE, Selection(domain="gone.example"), "operator") == 1
    findings, summary = await everything(own)
    assert findings == []
    assert (summary.queued, summary.delivered, summary.bounced, summary.removed) == (3, 1, 1, 1)
    assert summary.receipts == 2


async def lose_a_document(db: Database) -> None:
    await db[schema.QUEUE].delete_one({"domain": "big.example"})


async def lose_a_part(db: Database) -> None:
    await db[schema.QUEUE_PARTS].delete_one({})


async def cut_a_message(db: Database) -> None:
    await db[schema.QUEUE].update_one({"domain": "wait.example"}, {"$set": {"content": b"short"}})


async def finish_too_early(db: Database) -> None:
    await db[schema.QUEUE].update_one({"domain": "wait.example"}, {"$set": {"state": "done"}})


async def fail_silently(db: Database) -> None:
    fields = {"state": "done", "recipients.0.state": "failed"}
    await db[schema.QUEUE].update_one({"domain": "wait.example"}, {"$set": fields})


async def forget(db: Database) -> None:
    await db[schema.QUEUE].update_one({"domain": "wait.example"}, {"$set": {"due": now_ms() - 3_700_000}})


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lose_a_document, FindingKind.LOST_MESSAGE),
        (lose_a_part, FindingKind.QUEUED_WITHOUT_CONTENT),
        (cut_a_message, FindingKind.QUEUED_WITHOUT_CONTENT),
        (finish_too_early, FindingKind.DAMAGED_QUEUE),
        (fail_silently, FindingKind.UNTOLD_FAILURE),
        (forget, FindingKind.QUEUE_STUCK),
    ],
)
async def test_a_planted_fault_is_found(
    own: Database, store: MongoStore, plant: Callable[[Database], Awaitable[None]], kind: FindingKind
) -> None:
    account = await new_account(own)
    await submit(store, account, "wait.example")
    await submit(store, account, "big.example", content=BIG)
    assert await everything(own) == ([], (await everything(own))[1])
    await plant(own)
    findings, _ = await everything(own)
    assert {finding.kind for finding in findings} == {kind}
