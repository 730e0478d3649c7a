"""Traces never stand in mail's way."""

from __future__ import annotations

import asyncio

import pytest
from mailboat_common.ids import trace_id
from storage_api import trace as trace_module
from storage_api.db.driver import AutoReconnect, Database
from storage_api.store.hooks import TraceEvent
from storage_api.trace import TraceLog


async def test_events_are_written_in_batches_without_being_asked(db: Database) -> None:
    log = TraceLog(db)
    work = asyncio.create_task(log.run())
    ids = [trace_id() for _ in range(3)]
    for number in range(250):
        log.record([TraceEvent(ids[number % 3], number, "filed", uid=number)])
    async with asyncio.timeout(5):
        while sum([len(await log.timeline(one)) for one in ids]) < 250:
            pass
    assert [step.at for step in await log.timeline(ids[0])] == list(range(0, 250, 3))
    work.cancel()


async def test_what_cannot_be_written_is_given_up(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TraceLog(db)
    collection = log._events

    class Away:
        def unacknowledged_by_majority(self) -> Away:
            return self

        async def insert_many(self, documents: list, ordered: bool) -> None:
            raise AutoReconnect("no primary")

    monkeypatch.setattr(log, "_events", Away())
    one = trace_id()
    log.record([TraceEvent(one, 1, "accepted")])
    await log.flush()
    monkeypatch.setattr(log, "_events", collection)
    log.record([TraceEvent(one, 2, "filed")])
    await log.flush()
    async with asyncio.timeout(5):
        while not (steps := await log.timeline(one)):
            pass
    assert [step.kind for step in steps] == ["filed"]


def test_memory_is_bounded_while_mongodb_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "WAITING_LIMIT", 10)
    log = TraceLog({"trace": None})
    log.record([TraceEvent("t", number, "filed") for number in range(100)])
    assert [event.at for event in log._waiting] == list(range(90, 100))
