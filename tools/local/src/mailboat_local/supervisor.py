"""``make run``: the stack in the foreground. A child that dies is started again, later and later; Ctrl-C ends all.

The children write to their log files, as under ``make up``; what the terminal shows is read back from those, so a
supervisor that is killed takes nobody with it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from mailboat_local.layout import StackError
from mailboat_local.stack import SUPERVISOR, Stack

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STEADY_SECONDS = 60.0  # a child that lived this long starts again with the first delay
POLL_SECONDS = 0.2


@dataclass(slots=True)
class Backoff:
    """When a dead child is started again: 0.5 s, 1 s, 2 s ... 30 s; from the start after a long life."""

    delay: float = FIRST_DELAY
    started: float = 0.0
    due: float | None = None  # a start is waiting for this moment

    def died(self, now: float) -> float:
        """Note a death; returns how long to wait before the next start."""
        if now - self.started >= STEADY_SECONDS:
            self.delay = FIRST_DELAY
        wait = self.delay
        self.due = now + wait
        self.delay = min(self.delay * 2, LONGEST_DELAY)
        return wait

    def restarted(self, now: float) -> None:
        """Note a start."""
        self.started, self.due = now, None


class Supervisor:
    """Keeps the stack's processes running until it is told to stop."""

    def __init__(
        self, stack: Stack, say: Callable[[str], None], show_logs: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._stack = stack
        self._say = say
        self._show_logs = show_logs
        self._clock = clock
        self._backoff = {name: Backoff(started=clock()) for name in stack.names}
        self.stopping = False

    def step(self) -> None:
        """One look at every child."""
        now = self._clock()
        ended = self._stack.processes.reap()
        for name, backoff in self._backoff.items():
            if self._stack.pid(name) is not None:
                continue
            if backoff.due is None:
                wait = backoff.died(now)
                recorded = self._stack.processes.stale_pid(name)
                how = _how(ended.get(recorded)) if recorded is not None else "is gone"
                self._say(f"{name} {how}; starting it again in {wait:g} s")
            elif now >= backoff.due:
                self._start(name, backoff, now)

    def _start(self, name: str, backoff: Backoff, now: float) -> None:
        try:
            pid = self._stack.start(name, wait_seconds=None)
        except StackError as error:
            wait = backoff.died(now)
            self._say(f"{error}\nTrying again in {wait:g} s")
        else:
            backoff.restarted(now)
            self._say(f"{name} started again (pid {pid})")

    def run(self) -> None:
        """Watch until SIGINT, SIGTERM or SIGHUP."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        while not self.stopping:
            self.step()
            self._show_logs()
            time.sleep(POLL_SECONDS)

    def end(self) -> None:
        """End every child, in the right order."""
        self._stack.end_children()
        self._show_logs()
        self._stack.processes.forget(SUPERVISOR)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True


def _how(code: int | None) -> str:
    if code is None:
        return "is gone"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with status {code}"
