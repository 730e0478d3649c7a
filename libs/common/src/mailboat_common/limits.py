"""Limits a process keeps for itself: bytes in flight, and how many of something one key may have.

Rules: waiting is first come, first served, so a large message isn't starved by small ones; a counter that falls to
zero is forgotten, so memory is bounded by what is open.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class ByteBudget:
    """At most `limit` bytes are held by all users together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def try_acquire(self, size: int) -> bool:
        """Takes `size` bytes if they are free now and nobody waits before us."""
        if self._waiting or self.used + size > self.limit:
            return False
        self.used += size
        return True

    async def acquire(self, size: int, timeout: float) -> bool:  # noqa: ASYNC109 - time-out is an answer
        """Takes `size` bytes, waiting up to `timeout` seconds. False: not got (or never possible), nothing is held."""
        if self.try_acquire(size):
            return True
        if size > self.limit:
            return False
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, granted)
        self._waiting.append(entry)
        try:
            await asyncio.wait((granted,), timeout=timeout)
        except asyncio.CancelledError:
            self._withdraw(entry)
            raise
        if granted.done():
            return True
        self._withdraw(entry)
        return False

    def release(self, size: int) -> None:
        """Gives `size` bytes back."""
        self.used -= size
        assert self.used >= 0, "more bytes released than acquired"
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.limit:
            size, granted = self._waiting.popleft()
            self.used += size
            granted.set_result(None)

    def _withdraw(self, entry: tuple[int, asyncio.Future[None]]) -> None:
        if entry[1].done():
            self.release(entry[0])  # granted in the instant the waiter was cancelled
        else:
            self._waiting.remove(entry)
            self._grant()  # whoever stood behind a large request may fit now


class PerKey(Generic[K]):
    """Counts what each key holds, up to `limit` a key (0: no limit)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: dict[K, int] = {}

    def acquire(self, key: K) -> bool:
        """Takes one for `key`; False when it has its share already."""
        held = self._held.get(key, 0)
        if self.limit and held >= self.limit:
            return False
        self._held[key] = held + 1
        return True

    def release(self, key: K) -> None:
        """Gives one back."""
        held = self._held[key] - 1
        if held:
            self._held[key] = held
        else:
            del self._held[key]

    def held(self, key: K) -> int:
        """What `key` holds now."""
        return self._held.get(key, 0)

    def __len__(self) -> int:
        return len(self._held)


def address_key(address: IPv4Address | IPv6Address) -> int:
    """The key a client address is counted under: an IPv4 address, or the /64 network of an IPv6 address.

    The two families never share a key.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return int(address.ipv4_mapped)
        return int(address) >> 64 | 1 << 64
    return int(address)
