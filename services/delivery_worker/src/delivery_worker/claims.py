"""Claims held: their leases renewed, their results committed, many per call.

Rules: a lease counts by this process's own clock from when the call that got it was sent, so that clocks of machines
needn't agree; what wasn't renewed in time is lost, as the storage authority may have given it to another worker. A
report is repeated until it is committed (a repeat has no second effect), because the remote server has the message:
not to report it would send it again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mailboat_common.backoff import backoff
from mailboat_common.errors import Failure
from mailboat_common.log import get_logger
from mailboat_store_client.queue import AttemptReport, Claimed, Queue

log = get_logger(__name__)

LEAST_LEASE = 10.0  # seconds assumed where clocks disagree so far that the lease seems over already
LONGEST_LEASE = 120.0  # what the storage authority gives; more than that is this machine's clock being behind
SAFETY = 2.0  # seconds before its end at which a lease isn't relied on any more
TICK = 1.0
PER_CALL = 100


@dataclass(slots=True, eq=False)
class Lease:
    """One claim's time: `until` by the monotonic clock."""

    claimed: Claimed
    seconds: float
    until: float
    lost: bool = False


class Leases:
    """All leases of the process."""

    def __init__(self, queue: Queue, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock
        self._held: set[Lease] = set()

    def add(self, claimed: Claimed, asked_at: float) -> Lease:
        """A claim made by a call that was sent at `asked_at`."""
        seconds = min(max(claimed.lease_until / 1000 - time.time(), LEAST_LEASE), LONGEST_LEASE)
        lease = Lease(claimed, seconds, asked_at + seconds)
        self._held.add(lease)
        return lease

    def drop(self, lease: Lease) -> None:
        """It is done with."""
        self._held.discard(lease)

    def holds(self, lease: Lease) -> bool:
        """Whether the claim is certainly ours still."""
        return not lease.lost and lease.until - SAFETY > self._clock()

    async def run(self) -> None:
        """Renews for ever."""
        while True:
            await asyncio.sleep(TICK)
            await self.renew_due()

    async def renew_due(self) -> None:
        """Renews what has less than two thirds of its time left."""
        now = self._clock()
        due = [lease for lease in self._held if not lease.lost and lease.until - now < lease.seconds * 2 / 3]
        for start in range(0, len(due), PER_CALL):
            batch = due[start : start + PER_CALL]
            asked_at = self._clock()
            try:
                renewed = await self._queue.renew([(lease.claimed.queue_id, lease.claimed.token) for lease in batch])
            except Failure as error:
                log.warning("leases not renewed", claims=len(batch), cause=str(error))
                return
            for lease, held in zip(batch, renewed, strict=True):
                if held:
                    lease.until = asked_at + lease.seconds
                elif lease in self._held:
                    lease.lost = True
                    log.warning("claim lost", queue_id=lease.claimed.queue_id.hex(), trace_id=lease.claimed.trace_id)


class Reports:
    """Commits reports: the first at once, those that come meanwhile together with the next call."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: deque[tuple[AttemptReport, asyncio.Future[bool]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def commit(self, report: AttemptReport) -> bool:
        """True once it is committed; False: the claim was lost, nothing was changed."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, done))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="reports")
        return await asyncio.shield(done)

    async def _send(self) -> None:
        failures = 0
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(PER_CALL, len(self._waiting)))]
                try:
                    taken = await self._queue.report([report for report, _ in batch])
                except Exception as error:
                    # Whatever it was: the remote server's answer must not be lost for it.
                    if failures % 10 == 0:
                        log.error("reports not committed, trying again", reports=len(batch), cause=repr(error))
                    self._waiting.extendleft(reversed(batch))
                    await asyncio.sleep(backoff(failures))
                    failures += 1
                    continue
                failures = 0
                for (_, done), committed in zip(batch, taken, strict=True):
                    if not done.done():
                        done.set_result(committed)
        finally:
            self._sending = None
