"""Time limits and signals of one run.

Rules: nothing waits longer than its limit, name resolution and slow servers included, therefore the limit is an alarm
and not a socket's timeout. A signal ends what is running and nothing else: the caller still removes what it has made.
Handlers raise exceptions in the main thread, where everything runs.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class TooLate(Exception):
    """A piece of work has used up its time."""


class Stopped(BaseException):
    """A signal asks us to stop; the text is its name. Like KeyboardInterrupt it is no Exception, and so passes
    through the handlers of libraries."""


class Interrupts:
    """The signal handlers while a run lasts; those of before come back at its end. ``caught``: the first signal."""

    def __init__(self) -> None:
        self.caught = ""
        self._stoppable = False
        self._limit = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._stop)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._alarm)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def work(self, seconds: float, *, stoppable: bool = True) -> Iterator[None]:
        """A piece of work with a limit. Raises TooLate in it once that is over and Stopped at a signal; with
        ``stoppable`` false signals are only noted."""
        self._limit = seconds
        self._stoppable = stoppable
        try:
            if stoppable and self.caught:
                raise Stopped(self.caught)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            yield
        finally:
            self._stoppable = False
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.caught = self.caught or signal.Signals(number).name
        if self._stoppable:
            self._stoppable = False  # a second signal doesn't disturb what the first has set going
            raise Stopped(self.caught)

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        raise TooLate(f"not done within {self._limit:g} s")
