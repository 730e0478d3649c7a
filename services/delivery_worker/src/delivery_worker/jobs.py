"""What becomes of a job from RabbitMQ: claimed, delivered, reported, acknowledged.

Jobs arrive through the quorum queue `mailboat.delivery`. A job only says "try this queue document now, for the n-th
time"; the document in MongoDB is the truth.

Rules:
- A job is acknowledged after its attempt is reported, or when its claim is refused: then it is void. One that can't be
  read goes to the dead-letter queue `mailboat.delivery.dead`.
- A document is in hand once: a second job for it is void.
- Nothing is sent before the claim, nothing completed after it is lost. Claims are made as many per call as can start.
- The destination's turn is over with the last answer: the report, some fifty times as long under load as the
  transaction, is waited for beside it. Attempts and reports together are at most `at_once`.
- Kill -9 at any point: the broker gives the job again, or the lease ends and the document is published again.
- SIGTERM: jobs that wait go back to the broker at once; attempts go on. `STOP_SECONDS` before the deadline those whose
  message isn't complete yet are broken off, and their claims given back.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from mailboat_common import crash
from mailboat_common.backoff import backoff
from mailboat_common.bus import DeadLetter, HandBack
from mailboat_common.errors import Failure, Refused
from mailboat_common.ids import encode_id
from mailboat_common.log import get_logger
from mailboat_store_client.jobs import decode_job
from mailboat_store_client.queue import AttemptReport, Claimed, Job, Outcome, Queue, QueueId, RecipientReport

from . import metrics
from .budget import Budget
from .claims import Lease, Leases, Reports
from .delivery import BrokenOff, Deliverer, Work
from .destination import Destinations

PER_CLAIM = 100
CLAIM_BYTES = 16 * 1024 * 1024  # contents in one answer, at most
STOP_SECONDS = 2.0

REPORT_TIME = metrics.duration.labels("report")
ALL_TIME = metrics.duration.labels("all")
log = get_logger(__name__)


def parse_job(body: bytes) -> Job:
    """The job. Raises DeadLetter if it is none."""
    try:
        job = decode_job(body)
    except ValueError as error:
        raise DeadLetter(str(error)) from None
    if not job.domain:
        raise DeadLetter("a DeliveryJob without a domain")
    return job


@dataclass(slots=True, eq=False)
class Pending:
    """A job taken from the broker; `done` settles it."""

    job: Job
    done: asyncio.Future[None]

    @property
    def domain(self) -> str:
        return self.job.domain


class Dispatcher:
    """All jobs of the process. `deliverer` is made with `destinations.learn`."""

    def __init__(
        self,
        queue: Queue,
        deliverer: Deliverer,
        destinations: Destinations[Pending],
        budget: Budget,
        *,
        worker: str,
        at_once: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._deliverer = deliverer
        self._destinations = destinations
        self._budget = budget
        self._worker = worker
        self._at_once = at_once
        self._clock = clock
        self.leases = Leases(queue, clock)
        self._reports = Reports(queue)
        self._changed = asyncio.Event()
        self._running: dict[asyncio.Task[None], Work] = {}
        self._in_hand: set[QueueId] = set()
        self._draining = False
        self._stopping = False

    async def work(self, body: bytes) -> None:
        """The broker's handler: returns when the job is done with. Raises DeadLetter, HandBack."""
        try:
            pending = Pending(parse_job(body), asyncio.get_running_loop().create_future())
        except DeadLetter:
            metrics.attempts.labels("rejected").inc()
            raise
        if self._draining:
            raise HandBack
        queue_id = pending.job.queue_id
        if queue_id in self._in_hand:  # doubled on its way: a claim call with both would get the same claim twice
            metrics.attempts.labels("void").inc()
            return
        if not self._destinations.add(pending):
            metrics.attempts.labels("given_back").inc()
            return
        self._in_hand.add(queue_id)
        metrics.waiting.set(self._destinations.waiting)
        self._changed.set()
        try:
            await pending.done
        finally:
            self._in_hand.discard(queue_id)

    async def run(self) -> None:
        """Claims and starts, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            room = min(PER_CLAIM, self._at_once - len(self._running))
            chosen = self._destinations.next(room) if room > 0 and not self._draining else []
            metrics.waiting.set(self._destinations.waiting)
            if not chosen:
                continue
            self._changed.set()  # there may be more
            await self._claim(chosen)

    async def drain(self, deadline: float) -> None:
        """Ends the work by `deadline` (event loop time)."""
        self._draining = True
        self._hand_back()
        loop = asyncio.get_running_loop()
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, deadline - STOP_SECONDS - loop.time()))
        self._stopping = True
        for task, work in list(self._running.items()):
            if not work.committed:
                task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, deadline - loop.time()))

    def _hand_back(self) -> None:
        for pending in self._destinations.take_all():
            if not pending.done.done():
                pending.done.set_exception(HandBack())
        metrics.waiting.set(0)

    # -- claiming

    async def _claim(self, chosen: Sequence[tuple[str, Pending]]) -> None:
        asked_at, claimed = await self._ask_for([pending.job for _, pending in chosen])
        crash.point("delivery.claimed")
        for (key, pending), document in zip(chosen, claimed, strict=True):
            if document is None:
                metrics.attempts.labels("void").inc()
                self._destinations.done(key, reached=None)
                pending.done.set_result(None)
            else:
                self._start(key, pending, document, self.leases.add(document, asked_at))

    async def _ask_for(self, jobs: Sequence[Job]) -> tuple[float, list[Claimed | None]]:
        """When it was asked, and the claims. Repeated under the same key until there is an answer."""
        key = os.urandom(16)
        failures = 0
        while True:
            asked_at = self._clock()
            octets = min(CLAIM_BYTES, self._budget.free)
            try:
                return asked_at, await self._queue.claim(jobs, self._worker, max_bytes=octets, key=key)
            except Failure as error:
                if failures % 10 == 0:
                    log.warning("jobs not claimed, trying again", jobs=len(jobs), cause=str(error))
                await asyncio.sleep(backoff(failures))
                failures += 1

    def _start(self, key: str, pending: Pending, claimed: Claimed, lease: Lease) -> None:
        attempt = _Running(self, key, claimed, lease)
        task = asyncio.create_task(attempt.run(), name="delivery")
        self._running[task] = attempt.work

        def ended(done: asyncio.Task[None]) -> None:
            del self._running[done]
            attempt.leave()
            self._changed.set()
            if pending.done.done():
                return
            if done.cancelled():
                pending.done.set_exception(HandBack())
            elif (error := done.exception()) is not None:
                pending.done.set_exception(error)
            else:
                pending.done.set_result(None)

        task.add_done_callback(ended)

    # -- what an attempt asks of us

    def may_finish(self, lease: Lease) -> bool:
        """Whether a message may still be completed under this claim."""
        return self.leases.holds(lease) and not self._stopping

    async def content(self, claimed: Claimed) -> bytes:
        """A message that didn't come with its claim."""
        return await self._queue.content(claimed.queue_id, claimed.token)

    async def deliver(self, work: Work) -> None:
        """The attempt itself."""
        await self._deliverer.deliver(work)

    def left(self, key: str, reached: bool | None) -> None:
        """An attempt needs its destination no more."""
        self._destinations.done(key, reached=reached)
        self._changed.set()

    async def commit(self, report: AttemptReport) -> bool:
        """Commit a report."""
        started = time.monotonic()
        try:
            return await self._reports.commit(report)
        finally:
            REPORT_TIME.observe(time.monotonic() - started)

    @property
    def budget(self) -> Budget:
        """Octets in memory."""
        return self._budget


class _Running:
    """One attempt under way."""

    def __init__(self, dispatcher: Dispatcher, key: str, claimed: Claimed, lease: Lease) -> None:
        self._dispatcher = dispatcher
        self._key = key
        self._claimed = claimed
        self._lease = lease
        self._content = claimed.content
        self._taken = 0
        self._final = False
        self._has_left = False
        if claimed.content is not None:
            self._taken = len(claimed.content)
            dispatcher.budget.take(self._taken)
        self.work = Work(claimed, self._load, self._may_finish, self._report)

    async def run(self) -> None:
        started = time.monotonic()
        claimed = self._claimed
        with structlog.contextvars.bound_contextvars(trace_id=claimed.trace_id):
            result = "broken_off"
            try:
                await self._dispatcher.deliver(self.work)
                result = _result(self.work.results)
            except (BrokenOff, Refused):
                pass  # the claim is lost (its message isn't given any more either), or the process ends
            finally:
                try:
                    if not self._final:
                        await self._give_back()
                finally:
                    self._dispatcher.leases.drop(self._lease)
                    self._dispatcher.budget.release(self._taken)
                    metrics.attempts.labels(result).inc()
                    ALL_TIME.observe(time.monotonic() - started)
                    self._tell(result, time.monotonic() - started)

    def leave(self) -> None:
        """All is said: another may have the turn, whatever becomes of the report."""
        if not self._has_left:
            self._has_left = True
            self._dispatcher.left(self._key, reached(self.work))

    async def _load(self) -> bytes:
        if self._content is None:
            await self._dispatcher.budget.acquire(self._claimed.size)
            self._taken = self._claimed.size
            self._content = await self._dispatcher.content(self._claimed)
        return self._content

    def _may_finish(self) -> bool:
        self.work.committed = self._dispatcher.may_finish(self._lease)
        return self.work.committed

    async def _report(self, results: Sequence[RecipientReport], final: bool) -> None:
        crash.point("delivery.answered")
        self.work.committed = True  # it isn't cancelled until this is told
        phases = self.work.watch.phases()
        report = AttemptReport(self._claimed.queue_id, self._claimed.token, tuple(results), final, phases)
        if final:
            self.leave()
        if not await self._dispatcher.commit(report):
            log.warning("report came too late, the claim was lost", queue_id=encode_id(self._claimed.queue_id))
        self._final = self._final or final
        crash.point("delivery.reported")

    async def _give_back(self) -> None:
        if self._lease.lost:
            return
        report = AttemptReport(self._claimed.queue_id, self._claimed.token, (), True)
        await self._dispatcher.commit(report)

    def _tell(self, result: str, seconds: float) -> None:
        claimed, results = self._claimed, self.work.results
        worst = next(
            (item for item in results if item.outcome is not Outcome.DELIVERED), results[0] if results else None
        )
        log.info(
            "delivery attempt",
            queue_id=encode_id(claimed.queue_id),
            attempt=claimed.attempt,
            domain=claimed.domain,
            result=result,
            recipients=len(claimed.recipients),
            delivered=sum(item.outcome is Outcome.DELIVERED for item in results),
            status=worst.status if worst else "",
            reply=worst.reply if worst else "",
            reason=worst.reason if worst else "",
            host=worst.host if worst else "",
            tls=worst.tls if worst else "",
            octets=claimed.size,
            seconds=round(seconds, 3),
        )


def reached(work: Work) -> bool | None:
    """What an attempt says of its destination: False, less at once, if no server could be spoken to or all it said was
    "later"; None if it never came to that.
    """
    if not work.results:
        return not work.unreachable if work.hop else None
    return not work.unreachable and any(one.outcome is not Outcome.DEFERRED for one in work.results)


def _result(results: Sequence[RecipientReport]) -> str:
    outcomes = {item.outcome for item in results}
    for outcome in (Outcome.DEFERRED, Outcome.FAILED):
        if outcome in outcomes:
            return str(outcome.value)
    return str(Outcome.DELIVERED.value)
