"""A message's journey for operators: events by trace id (`store/hooks.py` names them), kept for 30 days.

Events are gathered for 200 ms or until there are 200 and written without waiting for a majority. A crash may lose the
last of them and nothing relies on them (store.md): mail never waits for its trace.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mailboat_common import metrics
from mailboat_common.ids import encode_id, uuid7
from mailboat_common.log import get_logger

from .db.driver import Database, Document, PyMongoError
from .directory.schema import TRACE
from .outage import database_errors
from .store.hooks import TraceEvent

log = get_logger(__name__)

BATCH = 200
BATCH_SECONDS = 0.2
KEEP = timedelta(days=30)
WAITING_LIMIT = 50_000
MAX_TIMELINE = 5000

_lost = metrics.counter("trace_events_lost_total", "Trace events given up because MongoDB was away")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a timeline. `at` in ms; account by address (its id in hex once it is gone), mailbox by name."""

    at: int
    kind: str
    account: str | None
    mailbox: str | None
    message: str | None
    details: dict[str, Any]


class TraceLog:
    """Collects and shows events. `run` must be running for anything to be written."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._events = db[TRACE]
        self._waiting: deque[TraceEvent] = deque()
        self._some = asyncio.Event()
        self._enough = asyncio.Event()

    def record(self, events: Iterable[TraceEvent]) -> None:
        """Takes events; never waits, never fails."""
        for event in events:
            if len(self._waiting) >= WAITING_LIMIT:
                self._waiting.popleft()
                _lost.inc()
            self._waiting.append(event)
        if self._waiting:
            self._some.set()
        if len(self._waiting) >= BATCH:
            self._enough.set()

    async def run(self) -> None:
        """Writes batches, for ever."""
        while True:
            await self._some.wait()
            with contextlib.suppress(TimeoutError):  # the batch's time is up
                async with asyncio.timeout(BATCH_SECONDS):
                    await self._enough.wait()
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits, a batch at a time; what can't be written is lost."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH * 5, len(self._waiting)))]
            try:
                await self._events.unacknowledged_by_majority().insert_many(
                    [_document(event) for event in batch], ordered=False
                )
            except PyMongoError as error:
                _lost.inc(len(batch))
                log.warning("trace events lost", count=len(batch), cause=repr(error))
        self._some.clear()
        self._enough.clear()

    async def timeline(self, trace_id: str) -> list[Step]:
        """All that is known of one message, in order; empty for an unknown id."""
        async with database_errors():
            found = await self._events.find({"t": trace_id}, sort=[("at", 1), ("_id", 1)], limit=MAX_TIMELINE)
            addresses = await self._names("accounts", {event["a"] for event in found if "a" in event}, "address")
            mailboxes = await self._names("mailboxes", {event["m"] for event in found if "m" in event}, "name")
        steps: list[Step] = []
        for event in found:
            step = _step(event, addresses, mailboxes)
            if step.kind != "received" or step not in steps:  # a repeated call tells it again
                steps.append(step)
        return sorted(steps, key=lambda step: (step.at, step.kind != "received"))

    async def _names(self, collection: str, ids: set[bytes], field: str) -> dict[bytes, str]:
        documents = await self._db[collection].find({"_id": {"$in": sorted(ids)}}, [field]) if ids else []
        return {document["_id"]: document[field] for document in documents if field in document}


def _document(event: TraceEvent) -> Document:
    document: Document = {
        "_id": uuid7(),
        "t": event.trace_id,
        "at": event.at,
        "kind": event.kind,
        "expires": datetime.now(UTC) + KEEP,
    }
    if event.account_id is not None:
        document["a"] = event.account_id
    if event.mailbox_id is not None:
        document["m"] = event.mailbox_id
    if event.uid:
        document["uid"] = event.uid
    if event.details:
        document["details"] = event.details
    return document


def _step(event: Document, addresses: dict[bytes, str], mailboxes: dict[bytes, str]) -> Step:
    account, mailbox, uid = event.get("a"), event.get("m"), event.get("uid")
    return Step(
        event["at"],
        event["kind"],
        None if account is None else addresses.get(account, bytes(account).hex()),
        None if mailbox is None else mailboxes.get(mailbox, encode_id(bytes(mailbox))),
        f"{encode_id(bytes(mailbox))}.{uid}" if mailbox is not None and uid else None,
        event.get("details", {}),
    )
