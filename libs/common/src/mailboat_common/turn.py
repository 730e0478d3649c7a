"""Turns in the event loop: who has many commands waiting lets others in between, though none of them awaits anything.

A block of 64 KB holds 8,000 commands that are answered from memory. Together they would take the loop for a tenth of a
second, and ten clients that send such blocks would make everybody else wait for one.
"""

from __future__ import annotations

import asyncio
import time

TURN_SECONDS = 0.001


class Turn:
    """One client's turn, from now on: after each command `if turn.over: await turn.pass_on()`.

    By the system's clock: uvloop's stands still within a turn.
    """

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = time.monotonic() + TURN_SECONDS

    @property
    def over(self) -> bool:
        """Whether others should have theirs."""
        return time.monotonic() >= self._end

    async def pass_on(self) -> None:
        """Let whatever is ready run, then begin a new turn."""
        await asyncio.sleep(0)
        self._end = time.monotonic() + TURN_SECONDS
