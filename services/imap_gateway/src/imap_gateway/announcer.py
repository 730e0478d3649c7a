"""Tells the traces of delivered messages that clients were told of them by EXISTS.

Why so: docs/adr/announced-by-the-gateway.md.

Rules:
- No session waits for it and nothing fails because of it. What is told is counted per message, and goes out in one call
  a second at most; what can't be told then, or is too much, is dropped and counted.
- Only what may have been delivered is told: a message that was copied or moved here, or uploaded with a date of its
  own, was saved at another time than its internal date. The store passes over what else has no trace.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from bisect import bisect_right
from collections.abc import Callable
from itertools import islice

from mailboat_common.errors import Failure, Refused
from mailboat_common.log import get_logger
from mailboat_store_client.ports import Trace
from mailboat_store_client.types import AccountId, Announcement, BodyId, MailboxId

from . import metrics
from .view import View

SECONDS = 1.0
PER_CALL = 1000
CALL_SECONDS = 5.0
LIMIT = 5000  # messages that wait; from here on more are dropped

_SENT = metrics.announcements.labels("sent")
_DROPPED = metrics.announcements.labels("dropped")
log = get_logger(__name__)


class _Told:
    """One message that sessions of this process were told of. `at`: the first of them, ms since the epoch."""

    __slots__ = ("account_id", "at", "body_id", "sessions")

    def __init__(self, account_id: AccountId, body_id: BodyId, at: int) -> None:
        self.account_id = account_id
        self.body_id = body_id
        self.at = at
        self.sessions = 0


class Announcer:
    """The process's announcements. `run` must be running for anything to be told; `clock` gives ns since the epoch."""

    def __init__(self, trace: Trace, clock: Callable[[], int] = time.time_ns) -> None:
        self._trace = trace
        self._clock = clock
        self._by = f"{socket.gethostname()}/{os.getpid()}"
        self._told: dict[tuple[MailboxId, int], _Told] = {}
        self._some = asyncio.Event()

    def told(self, view: View, known: int) -> None:
        """A session that knew of messages up to UID `known` was told of all there are now."""
        first = bisect_right(view.uids, known)
        start = max(first, len(view.uids) - LIMIT)
        if start > first:
            _DROPPED.inc(start - first)
        at = self._clock() // 1_000_000
        for row in range(start, len(view.uids)):
            if view.internal_dates[row] == view.save_dates[row]:
                self._count(view, row, at)

    def _count(self, view: View, row: int, at: int) -> None:
        key = view.mailbox_id, view.uids[row]
        told = self._told.get(key)
        if told is None:
            if len(self._told) >= LIMIT:
                _DROPPED.inc()
                return
            told = self._told[key] = _Told(view.account_id, view.body_id(row), at)
            self._some.set()
        told.sessions += 1

    async def run(self) -> None:
        """Tells what gathered in a second, for ever."""
        while True:
            await self._some.wait()
            await asyncio.sleep(SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Tells what waits, as far as that is possible now."""
        self._some.clear()
        told, self._told = self._told, {}
        rows = (
            Announcement(one.account_id, mailbox_id, uid, one.body_id, one.at, one.sessions)
            for (mailbox_id, uid), one in told.items()
        )
        while batch := list(islice(rows, PER_CALL)):
            if not await self._send(batch):
                _DROPPED.inc(sum(1 for _ in rows))

    async def _send(self, batch: list[Announcement]) -> bool:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._trace.announced(batch, by=self._by)
        except (Failure, Refused, TimeoutError) as error:
            _DROPPED.inc(len(batch))
            log.info("traces not told of announcements", messages=len(batch), cause=repr(error))
            return False
        _SENT.inc(len(batch))
        return True
