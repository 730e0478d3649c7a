"""Moves events from the outbox into the stream, where each has a position.

stream      _id position of its first event (from 1), n events, at (ms, when it was relayed), e [the events as in the
            outbox, with i: the event's id]
feeds       _id "head": next (the position the next event gets), floor (the lowest that may still be there), gaps
            [[from, before]] (positions a restore has skipped; absent: none)

Rules: one transaction reads the outbox from its beginning, takes positions from the head, writes a segment, deletes
what it took. Whoever else relays at that moment conflicts on the head. So positions have no gap and become visible in
order: a reader at position p has missed nothing up to p and never will. A relay killed anywhere did all of it or
nothing. Any number of workers may relay.
"""

from __future__ import annotations

import time

from mailboat_common import crash, metrics
from mailboat_common.errors import Unavailable

from ..db import schema
from ..db.driver import Database, Document, Session
from ..outage import transact
from ..store.leftovers import end_idle_transactions
from ..store.outbox import event_id
from .stream_head import HEAD, Head

DOCUMENTS = 200
SEGMENT_EVENTS = 256
PATIENCE_SECONDS = 2.0
PRUNE_SEGMENTS = 1000

_pending = metrics.gauge("outbox_pending", "Committed transactions whose events wait for a place in the stream")
_oldest = metrics.gauge("outbox_oldest_age_seconds", "Age of the oldest transaction that waits in the outbox")
_relayed = metrics.counter("events_relayed_total", "Events that got their place in the stream")


class Relay:
    """The worker's jobs around the stream."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._outbox = db[schema.OUTBOX]
        self._stream = db[schema.STREAM]
        self._feeds = db[schema.FEEDS]

    async def run(self, _now: int) -> bool:
        """One round: relays what waits, up to 200 transactions; whether there may be more."""
        if await self._outbox.find_one({}, {"_id": 1}) is None:
            return False
        try:
            taken, events = await transact(self._db, self._move, PATIENCE_SECONDS)
        except Unavailable:
            if await end_idle_transactions(self._db):  # of a relay that was killed: it holds the head
                return True
            raise
        crash.point("relay.after_commit")
        _relayed.inc(events)
        return taken == DOCUMENTS

    async def _move(self, session: Session) -> tuple[int, int]:
        """(documents, events) moved."""
        documents = await self._outbox.find({}, session=session, sort=[("_id", 1)], limit=DOCUMENTS)
        events = [
            {**event, "i": event_id(document["_id"], number)}
            for document in documents
            for number, event in enumerate(document["e"])
        ]
        if not events:
            return 0, 0
        taken = {"$inc": {"next": len(events)}}
        head = await self._feeds.find_one_and_update({"_id": HEAD}, taken, session=session, after=False)
        assert head is not None, "made by the migration"
        now = time.time_ns() // 1_000_000
        segments: list[Document] = []
        for start in range(0, len(events), SEGMENT_EVENTS):
            part = events[start : start + SEGMENT_EVENTS]
            segments.append({"_id": head["next"] + start, "n": len(part), "at": now, "e": part})
        await self._stream.insert_many(segments, session=session)
        await self._outbox.delete_many({"_id": {"$in": [d["_id"] for d in documents]}}, session=session)
        crash.point("relay.before_commit")
        return len(documents), len(events)

    async def count(self, now: int) -> bool:
        """Keeps the gauges of the outbox true."""
        _pending.set(await self._outbox.count({}))
        oldest = await self._outbox.find_one({}, {"_id": 1}, sort=[("_id", 1)])
        age = now - int.from_bytes(oldest["_id"][:8], "big") if oldest else 0
        _oldest.set(max(0, age) / 1000)
        return False

    async def prune(self, now: int, *, keep_ms: int, keep_events: int) -> bool:
        """Removes from the stream what is older than `keep_ms` or behind the newest `keep_events`."""
        head = Head.read(await self._feeds.find_one({"_id": HEAD}))
        oldest = await self._stream.find({}, {"n": 1, "at": 1}, sort=[("_id", 1)], limit=PRUNE_SEGMENTS)
        floor = 0
        for segment in oldest:
            end = segment["_id"] + segment["n"]
            if segment["at"] >= now - keep_ms and head.given_from(end) < keep_events:
                break
            floor = end
        if not floor:
            return False
        await self._feeds.update_one({"_id": HEAD}, {"$max": {"floor": floor}})  # first: readers learn of the loss
        await self._stream.delete_many({"_id": {"$lt": floor}})
        return len(oldest) == PRUNE_SEGMENTS and floor == oldest[-1]["_id"] + oldest[-1]["n"]
