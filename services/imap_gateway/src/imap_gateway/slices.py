"""Long work of the CPU in slices, between which other sessions get their turn.

Such work is written as a generator that yields where it may be interrupted and returns its result: it stays a pure
function, which a test runs through with `at_once`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Slices = Generator[None, None, T]

STEP = 2_000  # items after which a generator yields: some milliseconds
SORT_RUN = 8_192


async def in_slices(work: Slices[T]) -> T:
    """The result of the work; other tasks run after each slice."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        await asyncio.sleep(0)


def at_once(work: Slices[T]) -> T:
    """The result of the work, without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def sort(items: list[int], key: Callable[[int], Any], *, reverse: bool = False) -> Slices[None]:
    """Sort in place, stably. Runs first, then pairs of runs: what is sorted already costs a sort one pass."""
    width = SORT_RUN
    for start in range(0, len(items), width):
        items[start : start + width] = sorted(items[start : start + width], key=key, reverse=reverse)
        yield
    while width < len(items):
        for start in range(0, len(items) - width, 2 * width):
            pair = slice(start, start + 2 * width)
            items[pair] = sorted(items[pair], key=key, reverse=reverse)
            yield
        width *= 2
