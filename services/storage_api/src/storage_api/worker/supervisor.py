"""Periodic jobs, each in a loop of its own.

A job does a bounded amount and says whether more is waiting; then it runs again at once. Jobs are safe to run in
several replicas at a time and to be killed anywhere (that is the store's business, not a lock's), so there is no
leader. A job that fails is logged and tried again, later each time; it never ends the process or another job.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mailboat_common import metrics
from mailboat_common.errors import Unavailable
from mailboat_common.log import get_logger

from ..db.driver import PyMongoError
from ..outage import as_failure

log = get_logger(__name__)

LONGEST_BACKOFF = 60.0

_runs = metrics.counter("worker_runs_total", "Rounds of the worker's jobs", ("job", "result"))
_seconds = metrics.histogram("worker_run_duration_seconds", "Time of one round of a job", ("job",))
_last_success = metrics.gauge("worker_last_success_timestamp_seconds", "When a job last ended well", ("job",))


@dataclass(frozen=True, slots=True)
class Job:
    """`run(now)` (ms since the epoch) does one bounded round and returns whether more is waiting."""

    name: str
    every_seconds: float
    run: Callable[[int], Awaitable[bool]]


class Supervisor:
    """Runs jobs until it is told to stop. `clock` gives ms since the epoch."""

    def __init__(self, jobs: list[Job], clock: Callable[[], int]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Runs all jobs; returns after `stop`, when each has ended its round."""
        await asyncio.gather(*map(self._repeat, self._jobs))

    def stop(self) -> None:
        """No further rounds."""
        self._stop.set()

    async def _repeat(self, job: Job) -> None:
        failures = 0
        while not self._stop.is_set():
            more = await self.once(job)
            failures = failures + 1 if more is None else 0
            if not more:
                await self._pause(self._wait(job, failures))

    async def once(self, job: Job) -> bool | None:
        """One round: whether more is waiting; None if it failed."""
        started = time.perf_counter()
        try:
            more = await job.run(self._clock())
        except (PyMongoError, Unavailable) as error:
            cause = as_failure(error).private if isinstance(error, PyMongoError) else error.private
            log.warning("job failed", job=job.name, cause=cause)
            more = None
        except Exception:
            log.exception("job failed", job=job.name)
            more = None
        _seconds.labels(job.name).observe(time.perf_counter() - started)
        _runs.labels(job.name, "failed" if more is None else "ok").inc()
        if more is not None:
            _last_success.labels(job.name).set(self._clock() / 1000)
        return more

    def _wait(self, job: Job, failures: int) -> float:
        """Seconds until the next round: replicas drift apart, a failing job slows down."""
        spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        if not failures:
            return job.every_seconds * spread
        doubled = max(1.0, job.every_seconds) * 2.0 ** min(failures - 1, 6)
        return float(min(LONGEST_BACKOFF, doubled * spread))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return  # the pause is over
