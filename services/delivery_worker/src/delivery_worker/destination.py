"""Who may start: jobs by destination, so that a slow one never holds up the others.

Rules:
- A destination is a domain until its hop is known (the best mail hosts, or a smarthost), then the hop: a thousand
  domains at one provider are one destination.
- How many run at once starts at `FIRST_WINDOW`, grows by one with each success up to the limit, and halves when no
  server could be spoken to or all it said was "later" (421, 4xx).
- Turns go round the destinations, one job each.
- A destination may keep as many jobs waiting as it has finished within the last half minute (and a few more). What is
  over that is given back when the table is half full: the storage authority publishes it again after a minute, and
  jobs behind it in RabbitMQ get through.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

FIRST_WINDOW = 5
HORIZON = 30.0  # seconds of work that may wait
MAX_HOPS = 50_000


class HasDomain(Protocol):
    """A job, as far as this is concerned."""

    @property
    def domain(self) -> str:
        """Where it goes."""


J = TypeVar("J", bound=HasDomain)


@dataclass(slots=True)
class _Destination(Generic[J]):
    window: int
    running: int = 0
    waiting: deque[J] = field(default_factory=deque)
    since: float = 0.0
    finished: int = 0
    finished_before: int = 0


class Destinations(Generic[J]):
    """The table. `limit`: jobs in work for one destination; `room`: jobs waiting in all."""

    def __init__(self, *, limit: int, room: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._room = room
        self._clock = clock
        self._table: OrderedDict[str, _Destination[J]] = OrderedDict()
        self._ready: OrderedDict[str, _Destination[J]] = OrderedDict()  # those with jobs waiting, in turn
        self._hops: OrderedDict[str, str] = OrderedDict()
        self.waiting = 0

    def learn(self, domain: str, hop: str) -> None:
        """The domain's mail goes by this hop."""
        self._hops[domain] = hop
        self._hops.move_to_end(domain)
        while len(self._hops) > MAX_HOPS:
            self._hops.popitem(last=False)

    def key(self, domain: str) -> str:
        """The destination a job of this domain belongs to now."""
        return self._hops.get(domain, domain)

    def add(self, job: J) -> bool:
        """Let it wait for its turn. False: give it back, its destination has more than it can do."""
        key = self.key(job.domain)
        destination = self._at(key)
        if self.waiting * 2 >= self._room and len(destination.waiting) >= self._allowed(destination):
            return False
        destination.waiting.append(job)
        self._ready.setdefault(key, destination)
        self.waiting += 1
        return True

    def next(self, most: int) -> list[tuple[str, J]]:
        """Up to `most` jobs to start now, each with the key to give to `done`."""
        chosen: list[tuple[str, J]] = []
        while len(chosen) < most:
            before = len(chosen)
            for key, destination in list(self._ready.items()):
                if len(chosen) >= most:
                    break
                if destination.running < destination.window:
                    destination.running += 1
                    self.waiting -= 1
                    chosen.append((key, destination.waiting.popleft()))
                    self._ready.move_to_end(key)
                    if not destination.waiting:
                        del self._ready[key]
            if len(chosen) == before:
                break
        return chosen

    def done(self, key: str, *, reached: bool | None) -> None:
        """A job's end. `reached`: whether a server took it or refused it for good; None: it never came to that."""
        destination = self._table[key]
        destination.running -= 1
        if reached is not None:
            self._turn(destination)
            destination.finished += 1
            window = destination.window + 1 if reached else destination.window // 2
            destination.window = max(1, min(window, self._limit))
        self._forget(key)

    def take_all(self) -> Iterator[J]:
        """Empties the table of what waits."""
        while self._ready:
            key, destination = self._ready.popitem()
            while destination.waiting:
                self.waiting -= 1
                yield destination.waiting.popleft()
            self._forget(key)

    def _at(self, key: str) -> _Destination[J]:
        destination = self._table.get(key)
        if destination is None:
            destination = self._table[key] = _Destination(min(FIRST_WINDOW, self._limit), since=self._clock())
        return destination

    def _allowed(self, destination: _Destination[J]) -> int:
        self._turn(destination)
        return self._limit + max(destination.finished, destination.finished_before)

    def _turn(self, destination: _Destination[J]) -> None:
        passed = self._clock() - destination.since
        if passed >= HORIZON:
            destination.finished_before = destination.finished if passed < 2 * HORIZON else 0
            destination.finished = 0
            destination.since = self._clock()

    def _forget(self, key: str) -> None:
        destination = self._table[key]
        if not destination.running and not destination.waiting and len(self._table) > self._room:
            del self._table[key]
