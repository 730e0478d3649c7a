"""What all connections of the process share."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine

from mailboat_store_client.ports import Store

from .ahead import ReadAhead
from .expire import PlatformDays
from .settings import Settings


class Gateway:
    """Settings, store, TLS, messages read ahead, the platform's days of EXPIRE, and the tasks that run for connections.

    A task outlives its connection: a command that was begun is finished, then the lease is given back.
    """

    def __init__(self, settings: Settings, store: Store, tls: ssl.SSLContext) -> None:
        self.settings = settings
        self.store = store
        self.tls = tls
        self.ahead = ReadAhead(store.read)
        self.platform_days = PlatformDays(store.read)
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work`; it handles its own exceptions."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self) -> None:
        """Wait for what runs; before the store is closed, or users would find their maildrops locked for a minute."""
        while self._tasks:
            await asyncio.wait(self._tasks)
