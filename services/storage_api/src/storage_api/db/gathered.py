"""Look-ups of concurrent callers in one read.

A round trip costs as much as some ten documents of it. The first caller is served at once; whoever comes while a read
is under way shares the next one. So nobody is answered from a read that began before he asked, and a lone caller waits
for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")

MAX_KEYS = 1000


class Gathered(Generic[V]):
    """`read` gives the values of those keys that exist, up to 1,000 of them and those of one caller."""

    def __init__(self, read: Callable[[list[str]], Awaitable[Mapping[str, V]]]) -> None:
        self._read = read
        self._waiting: deque[tuple[Collection[str], asyncio.Future[Mapping[str, V]]]] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def find(self, keys: Collection[str]) -> dict[str, V]:
        """The values of those keys that exist. Raises what the read raised."""
        if not keys:
            return {}
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Mapping[str, V]] = loop.create_future()
        self._waiting.append((keys, answer))
        if self._reading is None:
            self._reading = loop.create_task(self._read_all())
        found = await answer
        return {key: found[key] for key in keys if key in found}

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                wanted, answers = self._next()
                try:
                    found = await self._read(sorted(wanted))
                except Exception as error:
                    _settle(answers, error)
                else:
                    _settle(answers, found)
        finally:
            self._reading = None
            for _, answer in self._waiting:  # the process ends
                answer.cancel()
            self._waiting.clear()

    def _next(self) -> tuple[set[str], list[asyncio.Future[Mapping[str, V]]]]:
        wanted: set[str] = set()
        answers = []
        while self._waiting and len(wanted) < MAX_KEYS:
            keys, answer = self._waiting.popleft()
            if not answer.done():  # else its caller has gone
                wanted.update(keys)
                answers.append(answer)
        return wanted, answers


def _settle(answers: list[asyncio.Future[Mapping[str, V]]], outcome: Mapping[str, V] | Exception) -> None:
    for answer in answers:
        if answer.done():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
