"""When things happened in a session, for the trace of its messages."""

from __future__ import annotations

import time
from collections.abc import Callable


class Moments:
    """Times in ms since the epoch that never run backwards: the wall clock is looked at once, at the beginning.

    `connected` is when this was made; `first_command` and `secured` (STARTTLS) are 0 until they happen.
    """

    __slots__ = ("_offset", "_steady", "connected", "first_command", "secured")

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        self._steady = steady
        self._offset = wall() - steady()
        self.connected = self.now()
        self.first_command = 0
        self.secured = 0

    def now(self) -> int:
        """This moment."""
        return (self._offset + self._steady()) // 1_000_000

    def spoke(self) -> None:
        """The client sent a command; the first one counts."""
        if not self.first_command:
            self.first_command = self.now()
