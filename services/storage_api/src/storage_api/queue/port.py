"""The Queue port on MongoDB: claims are conditional updates, reports go through the committer.

A claim is one update and one find for up to 100 jobs: those that are ready for the very attempt their job names become
this call's, told by its key, which is their token. What a caller that died in between has claimed comes back when its
lease ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from mailboat_common import crash
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from mailboat_common.ids import encode_id
from mailboat_store_client.queue import (
    AttemptReport,
    Claimed,
    ClaimToken,
    Job,
    QueuedRecipient,
    QueueId,
    Transport,
)
from mailboat_store_client.types import AccountId

from ..db import schema
from ..db.driver import Database, Document
from ..store.committer import Committer
from ..store.failures import guarded
from ..store.hooks import Hooks, TraceEvent
from . import contents, metrics, transports
from .documents import CLAIMED, LEASE_MS, READY, pending
from .report import EndLease, Report, Reported, unused_of

MAX_CLAIMS = 100
MAX_WORKER = 200


class MongoQueue:
    """Mail out, for one database. While `paused` nothing is claimed."""

    def __init__(
        self,
        db: Database,
        committer: Committer,
        hooks: Hooks | None = None,
        *,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._db = db
        self._paused = paused
        self._queue = db[schema.QUEUE]
        self._committer = committer
        self._hooks = hooks or Hooks()
        self.transports = transports.TransportTable(db, committer.now)

    @guarded
    async def claim(self, jobs: Sequence[Job], worker: str, *, max_bytes: int, key: bytes) -> list[Claimed | None]:
        """See `mailboat_store_client.queue.Queue`. Refused LIMIT for more than 100 jobs."""
        if len(jobs) > MAX_CLAIMS:
            raise Refused(RefusedCode.LIMIT, f"A claim takes {MAX_CLAIMS} jobs")
        if not jobs:
            return []
        if self._paused():
            raise Unavailable("a restored database is being put right", retry_after=1.0)
        now = self._committer.now()
        token = ClaimToken(key)  # so whoever asks again finds what is claimed already
        fields: Document = {
            "state": CLAIMED,
            "token": token,
            "lease_until": now + LEASE_MS,
            "due": now + LEASE_MS,
            "worker": worker[:MAX_WORKER],
            "ended": False,
        }
        await self._queue.update_many(_ready(jobs), {"$set": fields})
        crash.point("queue.claimed")
        ids = sorted({job.queue_id for job in jobs})
        found = await self._queue.find({"_id": {"$in": ids}, "token": token, "state": CLAIMED})
        routes = await self.transports.look_up(map(transports.key_for, found))
        claims: dict[QueueId, Claimed] = {}
        for document in found:
            claimed = _claimed(document, routes[transports.key_for(document)])
            if claimed.size <= max_bytes:
                claimed = replace(claimed, content=await contents.fetch(self._db, document))
                max_bytes -= claimed.size
            claims[claimed.queue_id] = claimed
        self._tell_attempts(found, now)
        return [claims.pop(job.queue_id, None) for job in jobs]  # a job named twice is one claim

    def _tell_attempts(self, found: Sequence[Document], now: int) -> None:
        events = [
            TraceEvent(
                document["t"],
                now,
                "attempt",
                AccountId(document["a"]) if "a" in document else None,
                details={
                    "queue": encode_id(bytes(document["_id"])),
                    "domain": document["domain"],
                    "attempt": document["attempt"],
                    "worker": document["worker"],
                },
            )
            for document in found
        ]
        if events:
            self._hooks.on_trace(events)

    @guarded
    async def content(self, queue_id: QueueId, token: ClaimToken) -> bytes:
        """See `mailboat_store_client.queue.Queue`."""
        query = {"_id": queue_id, "token": token, "state": CLAIMED}
        document = await self._queue.find_one(query, ["content", "content_id", "size"])
        if document is None:
            raise Refused(RefusedCode.NO_MESSAGE, "The claim was lost")
        return await contents.fetch(self._db, document)

    @guarded
    async def renew(self, claims: Sequence[tuple[QueueId, ClaimToken]]) -> list[bool]:
        """See `mailboat_store_client.queue.Queue`."""
        if not claims:
            return []
        until = self._committer.now() + LEASE_MS
        by_token: dict[ClaimToken, list[QueueId]] = {}
        for queue_id, token in claims:
            by_token.setdefault(token, []).append(queue_id)
        ours = {"state": CLAIMED, "$or": [{"token": t, "_id": {"$in": ids}} for t, ids in by_token.items()]}
        await self._queue.update_many(ours, {"$set": {"lease_until": until, "due": until}})
        held = await self._queue.find(ours, ["token"])
        alive = {(bytes(document["_id"]), bytes(document["token"])) for document in held}
        return [claim in alive for claim in claims]

    @guarded
    async def report(self, reports: Sequence[AttemptReport]) -> list[bool]:
        """See `mailboat_store_client.queue.Queue`."""
        owners = await self._owners([report.queue_id for report in reports])
        ended = await self._end([Report(report, owners.get(report.queue_id)) for report in reports])
        return [outcome.taken for outcome in ended]

    async def end_leases(self, claims: Sequence[tuple[QueueId, ClaimToken]]) -> int:
        """Take back claims whose lease has ended; returns how many."""
        owners = await self._owners([queue_id for queue_id, _ in claims])
        ended = await self._end([EndLease(*claim, owners.get(claim[0])) for claim in claims])
        return sum(outcome.taken for outcome in ended)

    async def _owners(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, AccountId]:
        """The accounts that sent these messages, of those that an account sent: that never changes."""
        found = await self._queue.find({"_id": {"$in": sorted(set(queue_ids))}}, ["a"])
        return {QueueId(bytes(d["_id"])): AccountId(bytes(d["a"])) for d in found if "a" in d}

    async def _end(self, mutations: Sequence[Report | EndLease]) -> list[Reported]:
        """Commit them, and then see to what they left unused."""
        submitted = [self._committer.submit(mutation) for mutation in mutations]
        found = await asyncio.gather(*submitted, return_exceptions=True)
        outcomes = [outcome for outcome in found if isinstance(outcome, Reported)]
        for outcome in outcomes:
            for seconds in outcome.seconds:
                metrics.time_in_queue.observe(seconds)
            metrics.count(outcome.told.bounced, outcome.told.notices)
        await contents.release(self._db, unused_of(outcomes))
        for failed in found:
            if isinstance(failed, BaseException):
                raise failed
        return outcomes


def _ready(jobs: Sequence[Job]) -> Document:
    """What is ready for the attempt its job names."""
    by_attempt: dict[int, list[bytes]] = {}
    for job in jobs:
        by_attempt.setdefault(job.attempt, []).append(job.queue_id)
    return {"state": READY, "$or": [{"attempt": n, "_id": {"$in": sorted(ids)}} for n, ids in by_attempt.items()]}


def _claimed(document: Document, transport: Transport) -> Claimed:
    route = document.get("route")
    return Claimed(
        queue_id=QueueId(bytes(document["_id"])),
        attempt=document["attempt"],
        token=ClaimToken(bytes(document["token"])),
        lease_until=document["lease_until"],
        trace_id=document["t"],
        domain=document["domain"],
        transport=transports.from_document(route) if route else transport,
        reverse_path=document["reverse_path"],
        recipients=tuple(QueuedRecipient(r["address"], r["notify"], r["orcpt"]) for r in pending(document)),
        size=document["size"],
        content=None,
        eight_bit=document["eight_bit"],
        smtputf8=document["smtputf8"],
        envid=document["envid"],
        ret=document["ret"],
        expires_at=document["expires_at"],
    )
