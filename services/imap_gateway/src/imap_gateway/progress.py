"""Signs of life during long commands: `* OK [INPROGRESS ("A1" 454 1000)] Working` (RFC 9585).

    with Progress(session, command.tag, goal=1000) as progress:
        progress.at(454, 1000)

Rules:
- A timer sends them, so that waiting for the store is told of as well; the first comes after as long as the others.
- None is sent while the client reads too slowly, nor between the pieces of a response (`silently`): a line in the midst
  of a literal would be data.
- None is sent where the operator hides INPROGRESS from the account: nobody asked for these lines.
- What is told never goes back and never reaches the goal, whatever the command's parts say of themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from mailboat_wire.imap import response

if TYPE_CHECKING:
    from .session import Session


class Timer(Protocol):
    """What a call in the future can be called off by."""

    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], None]], Timer]


class Progress:
    """One command's progress. `goal`: how many messages it works on, None: it can't say how far it is.

    The way to the goal has `stages` of equal length; within each, `at` says how far the command is.
    """

    def __init__(self, session: Session, tag: bytes, goal: int | None = None, *, later: Later | None = None) -> None:
        self.stages = 1
        self.goal = goal or None  # RFC 9585 4: positive, or not known
        self._session = session
        self._tag = tag
        self._later = later
        self._stage = 0
        self._within = 0.0
        self._told = 0
        self._silent = False
        self._timer: Timer | None = None

    def __enter__(self) -> Progress:
        if b"INPROGRESS" not in self._session.masked:
            self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def at(self, done: int, of: int) -> None:
        """How far the current stage is."""
        self._within = done / of if of else 1.0

    def next_stage(self) -> None:
        """The current stage is at its end."""
        self._stage += 1
        self._within = 0.0

    @contextmanager
    def silently(self) -> Iterator[None]:
        """A response is being written in pieces."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def _wait(self) -> None:
        later = self._later or asyncio.get_running_loop().call_later
        self._timer = later(self._session.gateway.policy.progress_seconds, self._due)

    def _due(self) -> None:
        if not self._silent and not self._session.link.full:
            code = response.code_in_progress(self._tag, self._done(), self.goal)
            self._session.write(response.ok(response.UNTAGGED, b"Working", code))
        self._wait()

    def _done(self) -> int | None:
        if self.goal is None:
            return None
        share = (self._stage + self._within) / self.stages
        self._told = max(self._told, min(int(share * self.goal), self.goal - 1))
        return self._told
