"""Two gateways on one in-memory store whose calls and news take their time: that is where races live.

Every call to the store waits a few turns of the event loop before it happens and a few after, and so does every news;
how many is drawn from a seed, so schedules differ and no test waits for a clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import MailboxChanged

from tests.support.imap import ALICE, PASSWORD, Client, Running, imap_gateway

TURNS = (0, 0, 1, 2, 5, 12)


async def turns(count: int) -> None:
    """Let everything else have `count` turns."""
    for _ in range(count):
        await asyncio.sleep(0)


class _Port:
    """A port of the store, slowed down."""

    def __init__(self, port: Any, rng: random.Random) -> None:
        self._port, self._rng = port, rng

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)
        return call if name == "read" else self._slow(call)

    def _slow(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def slowed(*args: Any, **keywords: Any) -> Any:
            await turns(self._rng.choice(TURNS))
            result = await call(*args, **keywords)
            await turns(self._rng.choice(TURNS))
            return result

        return slowed


class SlowStore:
    """All ports of a store, slowed down; `loses`: the share of news that never comes."""

    def __init__(self, store: MemoryStore, rng: random.Random, loses: float) -> None:
        self._store, self._rng, self._loses = store, rng, loses
        self.directory, self.delivery, self.trace = store.directory, store.delivery, store.trace
        self.read, self.write = _Port(store.read, rng), _Port(store.write, rng)
        self._tasks: set[asyncio.Task[None]] = set()

    def subscribe(self, listener: Callable[[MailboxChanged], None]) -> Callable[[], None]:
        """News, each a little later than it happened, or not at all."""

        async def later(news: MailboxChanged) -> None:
            await turns(self._rng.choice(TURNS))
            listener(news)

        def heard(news: MailboxChanged) -> None:
            if self._rng.random() >= self._loses:
                task = asyncio.ensure_future(later(news))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        return self._store.subscribe(heard)


class Pods:
    """Two gateways and who talks to them."""

    def __init__(self, store: MemoryStore, running: list[Running]) -> None:
        self.store = store
        self._running = running

    async def client(self, pod: int) -> Client:
        """A new connection to a pod, logged in."""
        client = await self._running[pod % len(self._running)].connect()
        await client.login(ALICE, PASSWORD)
        return client


@asynccontextmanager
async def two_pods(seed: int, *, loses: float = 0.0) -> AsyncIterator[Pods]:
    """Two gateways on a fresh store with alice in it."""
    store = MemoryStore()
    store.add_account(ALICE, PASSWORD)
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        slow: Any = [SlowStore(store, rng, loses) for _ in range(2)]
        yield Pods(store, [await stack.enter_async_context(imap_gateway(each)) for each in slow])
