"""What other systems are told of mail out: once, with the account's count, by the transaction that decides it."""

from __future__ import annotations

import os
from typing import Any

from mailboat_common.ids import encode_id, trace_id
from mailboat_store_client.queue import AttemptReport, Outcome, QueuedRecipient, RecipientReport
from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.queue import submit
from storage_api.queue.documents import job_of
from storage_api.store.mongo import MongoStore
from storage_api.store.workspace import Workspace

from tests.support.store import MESSAGE, new_account


async def events_of(db: Database, trace: str) -> list[Document]:
    """The outbox's events of a message, in order."""
    found = await db[schema.OUTBOX].find({"e.d.trace_id": trace}, sort=[("_id", 1)])
    return [event for document in found for event in document["e"] if event["d"]["trace_id"] == trace]


async def report(db: Database, store: MongoStore, trace: str, *results: RecipientReport) -> None:
    """A claim of the message's one document, and what its worker reports, twice."""
    document = await db[schema.QUEUE].find_one({"t": trace})
    assert document is not None
    (claimed,) = await store.queue.claim([job_of(document)], "w", max_bytes=0, key=os.urandom(16))
    assert claimed is not None
    for _ in range(2):
        assert await store.queue.report([AttemptReport(claimed.queue_id, claimed.token, results)]) == [True]


async def send(store: MongoStore, account: AccountId, *addresses: str) -> str:
    recipients = tuple(EnvelopeRecipient(address, NO_ACCOUNT) for address in addresses)
    mail = Envelope(trace_id(), "a@example.test", recipients, os.urandom(32), account_id=account)
    for _ in range(2):
        await store.delivery.deliver(mail, MESSAGE)
    return mail.trace_id


async def test_a_submission_is_told_and_each_recipients_end(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    trace = await send(store, account, "x@far.test", "y@far.test", "z@far.test")
    await report(
        db,
        store,
        trace,
        RecipientReport(
            "x@far.test", Outcome.DELIVERED, "2.0.0", "250 2.0.0 ok", host="mx [192.0.2.1]:25", tls="TLSv1.3"
        ),
        RecipientReport("y@far.test", Outcome.FAILED, "5.1.1", "550 5.1.1 nobody"),
        RecipientReport("z@far.test", Outcome.DEFERRED, "4.2.0", "450 4.2.0 later"),
    )
    events = await events_of(db, trace)
    assert [(event["k"], event["s"]) for event in events] == [
        ("message.sent", 1),
        ("message.delivered", 2),
        ("message.bounced", 3),
    ]
    common: dict[str, Any] = {"sender": "a@example.test", "trace_id": trace}
    size = events[0]["d"]["size"]
    assert events[0]["d"] == common | {
        "size": size,
        "recipients": ["x@far.test", "y@far.test", "z@far.test"],
        "recipient_count": 3,
    }
    document = await db[schema.QUEUE].find_one({"t": trace})
    assert document is not None
    queue = encode_id(document["_id"])
    assert events[1]["d"] == common | {
        "size": size,
        "recipient": "x@far.test",
        "queue": queue,
        "status": "2.0.0",
        "reply": "250 2.0.0 ok",
        "host": "mx [192.0.2.1]:25",
        "tls": "TLSv1.3",
    }
    assert events[2]["d"] == common | {
        "size": size,
        "recipient": "y@far.test",
        "queue": queue,
        "status": "5.1.1",
        "reply": "550 5.1.1 nobody",
    }


async def test_mail_of_a_deleted_account_is_told_without_a_count(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    trace = await send(store, account, "x@far.test")
    await db[schema.ACCOUNTS].update_one({"_id": account}, {"$set": {"deleted_at": 1}})
    await report(db, store, trace, RecipientReport("x@far.test", Outcome.FAILED, "5.1.1", "550 5.1.1 nobody"))
    (_, bounced) = await events_of(db, trace)
    assert (bounced["k"], bounced["o"], "a" in bounced) == ("message.bounced", "example.test", False)


def test_a_notice_is_not_told_of() -> None:
    ws = Workspace(1)
    for reverse_path, told in (("", 0), ("forward@example.test", 1)):
        outgoing = submit.Outgoing("t", reverse_path, (QueuedRecipient("x@far.test"),), MESSAGE)
        submit.enqueue(ws, submit.prepare_small(outgoing, os.urandom(16), 1))
        assert len(ws.events) == told
