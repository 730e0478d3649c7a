"""Jobs into RabbitMQ: straight after the commit by whoever made it, and by the scheduler for what is due.

Publishing changes nothing but `published_at` and when the scheduler looks again. A job that is lost (RabbitMQ down,
wiped, a process killed) is published again by the scheduler; a job that comes twice is dropped at its claim.

What a commit brought is noted up to `NOTE_SECONDS` later, many at a time, and only where it is still to be claimed.
That is the exception: a note for each message was a third of all updates of queue documents. A note that is lost with
its process means a job that comes twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from mailboat_common.bus import Bus, Topology
from mailboat_common.log import get_logger
from mailboat_store_client.jobs import DELIVERY, encode_job
from mailboat_store_client.queue import Job

from ..db import schema
from ..db.driver import Database, PyMongoError
from . import metrics
from .documents import READY, REPUBLISH_MS

log = get_logger(__name__)

AT_ONCE = 200
WAITING_LIMIT = 10_000
CONFIRM_SECONDS = 5.0
NOTE_SECONDS = 1.0  # within the scheduler's grace

_sent, _lost = metrics.published.labels("sent"), metrics.published.labels("lost")


class JobPublisher:
    """Publishes jobs with confirms. Create it before `bus.run` is spawned. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, bus: Bus, clock: Callable[[], int]) -> None:
        bus.declare_topology(Topology(queues=(DELIVERY,)))
        self._db = db
        self._bus = bus
        self._clock = clock
        self._waiting: deque[Job] = deque()
        self._running: asyncio.Task[None] | None = None
        self._unnoted: list[Job] = []
        self._noting: asyncio.Task[None] | None = None

    def queued(self, jobs: Iterable[Job]) -> None:
        """The hook: jobs of a commit. Never waits; what doesn't fit or fails is the scheduler's, seconds later."""
        for job in jobs:
            if len(self._waiting) < WAITING_LIMIT:
                self._waiting.append(job)
        if self._waiting and self._running is None and self._bus.connected:
            self._running = asyncio.get_running_loop().create_task(self._publish_waiting())
        elif not self._bus.connected:
            self._waiting.clear()

    async def _publish_waiting(self) -> None:
        try:
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                sent = await self._give(some)
                self._unnoted += sent
                if self._unnoted and self._noting is None:
                    self._noting = asyncio.get_running_loop().create_task(self._note_later())
                if len(sent) < len(some):
                    self._waiting.clear()
        finally:
            self._running = None

    async def _note_later(self) -> None:
        try:
            while self._unnoted:
                await asyncio.sleep(NOTE_SECONDS)
                sent, self._unnoted = self._unnoted, []
                try:
                    await self._note(sent)
                except PyMongoError as error:
                    log.info("jobs published, but not noted", jobs=len(sent), cause=repr(error))
        finally:
            self._noting = None

    async def publish(self, jobs: Sequence[Job]) -> int:
        """Publish up to some hundred jobs at once; returns how many RabbitMQ has for sure. Driver errors pass."""
        sent = await self._give(jobs)
        await self._note(sent)  # now: the next round would publish all of them again
        return len(sent)

    async def _give(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of the jobs that RabbitMQ has for sure."""
        publishing = [
            self._bus.publish_confirmed("", DELIVERY.name, encode_job(job), timeout=CONFIRM_SECONDS) for job in jobs
        ]
        confirmed = await asyncio.gather(*publishing)
        sent = [job for job, has in zip(jobs, confirmed, strict=True) if has]
        _sent.inc(len(sent))
        _lost.inc(len(jobs) - len(sent))
        return sent

    async def _note(self, sent: Sequence[Job]) -> None:
        by_attempt: dict[int, list[bytes]] = {}
        for job in sent:
            by_attempt.setdefault(job.attempt, []).append(job.queue_id)
        now = self._clock()
        for attempt, ids in by_attempt.items():
            query = {"_id": {"$in": ids}, "state": READY, "attempt": attempt}
            # On a majority: the next round reads what a majority has, and would publish all of them again.
            await self._db[schema.QUEUE].update_many(query, {"$set": {"published_at": now, "due": now + REPUBLISH_MS}})

    async def room(self, most: int) -> int:
        """How many jobs more the queue in RabbitMQ may get, if it is to hold `most`; 0 while RabbitMQ is away."""
        depth = await self._bus.depth(DELIVERY)
        return 0 if depth is None else max(0, most - depth)
