"""Look-ups of concurrent callers in one read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from storage_api.db.gathered import MAX_KEYS, Gathered


class Reads:
    """A table whose reads wait until they are let go."""

    def __init__(self, table: Mapping[str, int]) -> None:
        self.table = dict(table)
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.begun = asyncio.Event()
        self.go = asyncio.Semaphore(0)

    async def read(self, keys: list[str]) -> dict[str, int]:
        self.asked.append(keys)
        found = {key: self.table[key] for key in keys if key in self.table}
        self.begun.set()
        await self.go.acquire()
        if self.error is not None:
            raise self.error
        return found


async def test_whoever_comes_during_a_read_shares_the_next() -> None:
    reads = Reads({"a": 1, "b": 2})
    gathered = Gathered(reads.read)
    first = asyncio.create_task(gathered.find({"a", "x"}))
    await reads.begun.wait()
    reads.table["x"] = 9
    others = [asyncio.create_task(gathered.find(keys)) for keys in ({"b"}, {"x", "a"}, {"y"})]
    await asyncio.sleep(0)
    reads.go.release()
    assert await first == {"a": 1}
    reads.go.release()
    assert await asyncio.gather(*others) == [{"b": 2}, {"x": 9, "a": 1}, {}]
    assert reads.asked == [["a", "x"], ["a", "b", "x", "y"]]


async def test_no_keys_are_no_read() -> None:
    reads = Reads({})
    assert await Gathered(reads.read).find(set()) == {}
    assert reads.asked == []


async def test_a_failed_read_fails_its_callers_alone() -> None:
    reads = Reads({"a": 1})
    gathered = Gathered(reads.read)
    reads.error = LookupError("gone")
    reads.go.release()
    with pytest.raises(LookupError):
        await gathered.find({"a"})
    reads.error = None
    reads.go.release()
    assert await gathered.find({"a"}) == {"a": 1}


async def test_a_caller_that_went_away_is_not_read_for() -> None:
    reads = Reads({"a": 1, "b": 2})
    gathered = Gathered(reads.read)
    first = asyncio.create_task(gathered.find({"a"}))
    await reads.begun.wait()
    gone = asyncio.create_task(gathered.find({"b"}))
    stays = asyncio.create_task(gathered.find({"c"}))
    await asyncio.sleep(0)
    gone.cancel()
    reads.go.release()
    reads.go.release()
    assert (await first, await stays) == ({"a": 1}, {})
    assert reads.asked == [["a"], ["c"]]


async def test_a_read_has_a_bound() -> None:
    reads = Reads({})
    gathered = Gathered(reads.read)
    first = asyncio.create_task(gathered.find({"a"}))
    await reads.begun.wait()
    many = [asyncio.create_task(gathered.find({f"{n}-{i}" for i in range(400)})) for n in range(4)]
    await asyncio.sleep(0)
    for _ in range(3):
        reads.go.release()
    await asyncio.gather(first, *many)
    assert [len(keys) for keys in reads.asked] == [1, 1200, 400]
    assert MAX_KEYS == 1000
