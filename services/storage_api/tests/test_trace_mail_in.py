"""What the trace is told of mail in: how it came, what was answered, and which transactions belong together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from mailboat_common.ids import trace_id
from mailboat_store_client.types import (
    Announcement,
    Answered,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    Reception,
)
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.store.hooks import Hooks, TraceEvent
from storage_api.store.mongo import MongoStore
from storage_api.store.reception import received
from storage_api.trace import TraceLog

from tests.support.store import MESSAGE, envelope, new_account

AT = 1_700_000_000_000


@pytest.fixture
async def trace() -> list[TraceEvent]:
    return []


@pytest.fixture
async def store(db: Database, trace: list[TraceEvent]) -> AsyncIterator[MongoStore]:
    made = MongoStore(db, Hooks(on_trace=trace.extend))
    yield made
    await made.committer.close()


def of_kind(trace: list[TraceEvent], *kinds: str) -> list[TraceEvent]:
    return [event for event in trace if event.kind in kinds]


def mail(reception: Reception | None, **changes: str) -> Envelope:
    recipients = (EnvelopeRecipient("a@x.test", b"1" * 16),)
    return Envelope(trace_id(), "s@y.test", recipients, b"", reception=reception, **changes)


def test_the_first_message_of_a_connection_begins_with_it() -> None:
    reception = Reception(AT, AT + 5, AT + 20, AT + 40, AT + 60, AT + 70, "TLSv1.3 X", 1)
    event = received(mail(reception, client="192.0.2.1", helo="y.test"), 77)
    assert (event.kind, event.at) == ("received", AT)
    assert event.details == {
        "listener": "smtp",
        "sender": "s@y.test",
        "client": "192.0.2.1",
        "helo": "y.test",
        "recipients": 1,
        "size": 77,
        "tls": "TLSv1.3 X",
        "transaction": 1,
        "phases": {"connected": 0, "first_command": 5, "secured": 20, "mail": 40, "data": 60, "data_end": 70},
    }


def test_a_later_one_begins_with_its_mail_command() -> None:
    event = received(mail(Reception(AT, AT + 5, 0, AT + 9000, AT + 9001, AT + 9002, "", 2)), 77)
    assert event.at == AT + 9000
    assert event.details["phases"] == {
        "connected": -9000,
        "first_command": -8995,
        "mail": 0,
        "data": 1,
        "data_end": 2,
    }
    assert "tls" not in event.details


def test_what_came_over_rest_was_received_now() -> None:
    event = received(replace(mail(None, listener="rest", authenticated="a@x.test"), reverse_path=""), 7)
    assert abs(event.at - time.time() * 1000) < 5000, "the trace id's"
    assert (event.details["sender"], event.details["login"]) == ("<>", "a@x.test")
    assert "phases" not in event.details


async def test_a_repeated_call_is_received_once_in_the_timeline(db: Database, store: MongoStore, trace) -> None:
    one = replace(envelope(await new_account(db)), reception=Reception(AT, AT, mail=AT, data=AT, data_end=AT))
    for _ in range(2):
        await store.delivery.deliver(one, MESSAGE)
    assert len(of_kind(trace, "received")) == 2
    log = TraceLog(db)
    log.record(trace)
    await log.flush()
    async with asyncio.timeout(10):
        while not (steps := await log.timeline(one.trace_id)):  # written for the primary alone, read from a majority
            pass
    assert [step.kind for step in steps] == ["received", "filed"]


async def test_answers_come_with_the_next_delivery_or_a_confirmation(db: Database, store: MongoStore, trace) -> None:
    account = await new_account(db)
    first, second = trace_id(), trace_id()
    answered = (Answered(first, AT, "250 2.0.0 Ok"), Answered(second, AT + 1, "452 4.2.2 Mailbox is full"))
    await store.delivery.deliver(replace(envelope(account), confirmed=(first,), answered=answered), MESSAGE)
    await store.delivery.confirm([], [Answered(second, AT + 2, "250 2.0.0 Ok")])
    assert [(e.trace_id, e.at, e.details) for e in of_kind(trace, "answered")] == [
        (first, AT, {"reply": "250 2.0.0 Ok", "read": True}),
        (second, AT + 1, {"reply": "452 4.2.2 Mailbox is full", "read": False}),
        (second, AT + 2, {"reply": "250 2.0.0 Ok", "read": False}),
    ]


@pytest.mark.parametrize("recipients", [1, 70], ids=["one transaction", "an accepted document"])
async def test_a_duplicate_and_its_first_name_each_other(
    db: Database, store: MongoStore, trace: list[TraceEvent], recipients: int
) -> None:
    accounts = [await new_account(db) for _ in range(recipients)]
    first, again = envelope(*accounts), envelope(*accounts)
    await store.delivery.deliver(first, MESSAGE)
    result = await store.delivery.deliver(again, MESSAGE)
    assert {one.status for one in result.recipients} == {DeliveryStatus.DUPLICATE}
    told = {
        (event.trace_id, event.details.get("of") or event.details["as"], event.account_id)
        for event in of_kind(trace, "duplicate", "offered_again")
    }
    expected = {(first.trace_id, again.trace_id, account) for account in accounts}
    assert told == expected | {(again.trace_id, first.trace_id, account) for account in accounts}


async def test_a_notice_of_success_names_the_message_and_the_message_its_notice(
    db: Database, store: MongoStore, trace: list[TraceEvent]
) -> None:
    wished = envelope(await new_account(db))
    recipients = tuple(replace(one, notify="SUCCESS") for one in wished.recipients)
    before = time.time_ns() // 1_000_000
    await store.delivery.deliver(replace(wished, recipients=recipients), MESSAGE)
    (notice,), (written,) = of_kind(trace, "notice"), of_kind(trace, "written")
    assert (notice.trace_id, notice.details["notice"]) == (wished.trace_id, written.trace_id)
    assert written.details["about"] == wished.trace_id
    assert written.at >= before


async def test_an_announcement_is_a_step_of_the_trace_that_brought_the_body(
    db: Database, store: MongoStore, trace: list[TraceEvent]
) -> None:
    account = await new_account(db)
    one = envelope(account)
    (result,) = (await store.delivery.deliver(one, MESSAGE)).recipients
    assert result.mailbox_id is not None
    rows = (await store.read.changes(account, result.mailbox_id, 0)).changed
    told = Announcement(account, result.mailbox_id, result.uid, rows.body_id(0), AT, 3)
    assert await store.trace.announced([told], by="imap-1/7") == 1
    (event,) = of_kind(trace, "announced")
    details = {"sessions": 3, "by": "imap-1/7"}
    assert event == TraceEvent(one.trace_id, AT, "announced", account, result.mailbox_id, result.uid, details)


async def test_a_body_of_the_release_before_has_no_trace_to_tell(
    db: Database, store: MongoStore, trace: list[TraceEvent]
) -> None:
    account = await new_account(db)
    (result,) = (await store.delivery.deliver(envelope(account), MESSAGE)).recipients
    assert result.mailbox_id is not None
    await db[schema.BODIES].update_many({"a": account}, {"$unset": {"t": ""}})
    rows = (await store.read.changes(account, result.mailbox_id, 0)).changed
    told = Announcement(account, result.mailbox_id, result.uid, rows.body_id(0), AT, 1)
    assert await store.trace.announced([told], by="imap-1/7") == 0
    assert of_kind(trace, "announced") == []
