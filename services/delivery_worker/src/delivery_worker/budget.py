"""How many octets of messages are in memory at once."""

from __future__ import annotations

import asyncio
from collections import deque

from . import metrics


class Budget:
    """Octets to be had and given back. A message that is larger than all of it waits until it is alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """What may be taken without waiting."""
        return 0 if self._waiting else max(0, self._total - self._used)

    def take(self, octets: int) -> None:
        """Take them: they are here already."""
        self._used += octets
        metrics.in_flight.set(self._used)

    async def acquire(self, octets: int) -> None:
        """Wait for them, in order of asking."""
        if not self._waiting and self._fits(octets):
            self.take(octets)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(octets)
            else:
                self._waiting.remove((octets, turn))
                self._wake()
            raise

    def release(self, octets: int) -> None:
        """Give them back."""
        self._used -= octets
        metrics.in_flight.set(self._used)
        self._wake()

    def _fits(self, octets: int) -> bool:
        return not self._used or self._used + octets <= self._total

    def _wake(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            octets, turn = self._waiting.popleft()
            self.take(octets)
            turn.set_result(None)
