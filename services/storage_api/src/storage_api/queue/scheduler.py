"""The scheduler: publishes the jobs of documents that are due, and takes back claims whose lease has ended.

Any number of replicas run it at once; nothing is locked, because a job published twice is claimed once. It never lets
the queue in RabbitMQ grow past `MOST_JOBS`: with no worker about, the same jobs would be published each minute.
"""

from __future__ import annotations

from mailboat_common.log import get_logger
from mailboat_store_client.queue import ClaimToken, QueueId

from ..db import schema
from ..db.driver import Database
from . import contents, metrics
from .documents import CLAIMED, DONE, READY, STATES, job_of
from .port import MongoQueue
from .publish import AT_ONCE, JobPublisher

log = get_logger(__name__)

MOST_JOBS = 5_000
MOST_LEASES = 100


class Scheduler:
    """The worker role's rounds for the outbound queue."""

    def __init__(self, db: Database, queue: MongoQueue, publisher: JobPublisher) -> None:
        self._db = db
        self._documents = db[schema.QUEUE]
        self._queue = queue
        self._publisher = publisher

    async def run(self, now: int) -> bool:
        """One round; True if more is due."""
        more = await self._take_back(now)
        return await self._publish(now) or more

    async def _take_back(self, now: int) -> bool:
        query = {"state": CLAIMED, "due": {"$lte": now}}
        found = await self._documents.find(query, ["token", "worker"], sort=[("due", 1)], limit=MOST_LEASES)
        if not found:
            return False
        claims = [(QueueId(bytes(d["_id"])), ClaimToken(bytes(d["token"]))) for d in found]
        taken = await self._queue.end_leases(claims)
        metrics.lapsed.inc(taken)
        log.warning("claims taken back", claims=taken, workers=sorted({d["worker"] for d in found}))
        return len(found) == MOST_LEASES

    async def _publish(self, now: int) -> bool:
        query = {"state": READY, "due": {"$lte": now}}
        if await self._documents.find_one(query, {"_id": 1}) is None:
            return False
        room = min(AT_ONCE, await self._publisher.room(MOST_JOBS))
        if not room:
            return False
        found = await self._documents.find(query, ["attempt", "domain"], sort=[("due", 1)], limit=room)
        sent = await self._publisher.publish([job_of(document) for document in found])
        return sent == len(found) == AT_ONCE

    async def count(self, now: int) -> bool:
        """What the metrics say of the queue."""
        for state in STATES:
            if state != DONE:
                metrics.messages.labels(state).set(await self._documents.count({"state": state}))
        oldest = [
            document["created_at"]
            for state in STATES
            if state != DONE
            for document in await self._documents.find({"state": state}, ["created_at"], sort=[("_id", 1)], limit=1)
        ]
        metrics.oldest.set((now - min(oldest)) / 1000 if oldest else 0)
        return False

    async def sweep(self, now: int) -> bool:
        """Messages that no document names any more."""
        await contents.sweep_orphans(self._db, now)
        return False
