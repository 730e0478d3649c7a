"""Where an attempt spends its time, for the trace of its message (`mailboat_store_client.queue.Phases`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields

from mailboat_store_client.queue import Phases

_OF_TRANSACTION = ("mail", "data", "reply")
_NAMES = frozenset(field.name for field in fields(Phases))


class Stopwatch:
    """One phase runs at a time, or none; what is spent in a phase adds up. `clock` gives seconds."""

    __slots__ = ("_clock", "_running", "_since", "_spent")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = ""
        self._since = 0.0
        self._spent: dict[str, float] = {}

    def start(self, phase: str) -> None:
        """End the phase that runs, and begin this one."""
        assert phase in _NAMES, "phases are those that can be told"
        self.stop()
        self._running, self._since = phase, self._clock()
        self._spent.setdefault(phase, 0.0)

    def stop(self) -> None:
        """End the phase that runs, if any."""
        if self._running:
            self._spent[self._running] += self._clock() - self._since
            self._running = ""

    def start_transaction(self) -> None:
        """MAIL is next: what earlier transactions of the attempt took is told already."""
        self.stop()
        for phase in _OF_TRANSACTION:
            self._spent.pop(phase, None)
        self.start("mail")

    def split(self, phase: str, parts: dict[str, float]) -> None:
        """So many seconds of a phase that has ended belong to others. Without any left to it, it is forgotten."""
        for name, seconds in parts.items():
            self._spent[phase] -= seconds
            self._spent[name] = self._spent.get(name, 0.0) + seconds

    def forget(self, phase: str) -> None:
        """There was no such phase."""
        self._spent.pop(phase, None)

    def phases(self) -> Phases:
        """What was spent so far, in the phases that have ended."""
        return Phases(**{name: max(0, round(seconds * 1000)) for name, seconds in self._spent.items()})
