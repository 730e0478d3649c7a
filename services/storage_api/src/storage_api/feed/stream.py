"""Reading the stream by position.

Positions have no gap (see `relay`), so a reader that asks for what comes after p and is given p + 1 has missed
nothing. What was removed after its days, or lost when a backup was put back, shows in the head (`stream_head`): the
reader is told, never left to guess.

One task a process watches the head while somebody waits, and keeps the newest segments, which all readers that are up
to date share: a hundred of them read the database as often as one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass

from ..db import schema
from ..db.driver import Database, Document, PyMongoError
from .event import Event
from .relay import SEGMENT_EVENTS
from .stream_head import HEAD, Head

POLL_SECONDS = 0.25
RECENT_SEGMENTS = 32
SEGMENTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Page:
    """Events in order. `lost`: some between the position asked for and these have been removed since."""

    events: tuple[Event, ...]
    lost: bool


class Stream:
    """The stream as one process reads it."""

    def __init__(self, db: Database) -> None:
        self._segments = db[schema.STREAM]
        self._feeds = db[schema.FEEDS]
        self._recent: deque[Document] = deque(maxlen=RECENT_SEGMENTS)
        self._waiting = 0
        self._moved = asyncio.Condition()
        self._last = 0
        self._watch: asyncio.Task[None] | None = None

    async def head(self) -> Head:
        """Where the stream ends now."""
        return Head.read(await self._feeds.find_one({"_id": HEAD}))

    async def after(self, position: int, limit: int) -> Page:
        """Up to `limit` events behind `position`."""
        segments = self._from_recent(position)
        lost = False
        if segments is None:
            segments = await self._read(position, limit)
            if segments and segments[0]["_id"] > position + 1:
                # Removed after its days, or lost by a restore; or relayed between our two questions: the next call
                # finds it.
                lost = position + 1 < (await self.head()).following(position)
                segments = segments if lost else []
            elif not segments:
                lost = position + 1 < (await self.head()).following(position)
        events: list[Event] = []
        for segment in segments:
            first = max(0, position + 1 - segment["_id"])
            for number in range(first, segment["n"]):
                if len(events) == limit:
                    return Page(tuple(events), lost)
                events.append(Event.read(segment["_id"] + number, segment["e"][number]))
        return Page(tuple(events), lost)

    async def moved(self, position: int, seconds: float) -> None:
        """Returns once there is something behind `position`, or after `seconds`."""
        async with self._moved:
            self._waiting += 1
            if self._watch is None:
                self._watch = asyncio.get_running_loop().create_task(self._keep_watch(), name="stream-watch")
            try:
                async with asyncio.timeout(seconds):
                    await self._moved.wait_for(lambda: self._last > position)
            except TimeoutError:
                return
            finally:
                self._waiting -= 1

    async def before(self, at: int) -> int:
        """The position before the first event relayed at or after `at` (ms)."""
        head = await self.head()
        low, high = head.floor, head.last + 1  # the first such event is in [low, high]
        while low < high:
            middle = (low + high) // 2
            segment = await self._segments.find_one({"_id": {"$lte": middle}}, {"n": 1, "at": 1}, sort=[("_id", -1)])
            if segment is None or segment["at"] < at:
                low = middle + 1 if segment is None else max(segment["_id"] + segment["n"], middle + 1)
            else:
                high = segment["_id"]
        return low - 1

    def _from_recent(self, position: int) -> list[Document] | None:
        if not self._recent or position + 1 < self._recent[0]["_id"]:
            return None
        return [segment for segment in self._recent if segment["_id"] + segment["n"] > position + 1]

    async def _read(self, position: int, limit: int) -> list[Document]:
        query = {"_id": {"$gt": position + 1 - SEGMENT_EVENTS, "$lte": position + 1}}
        holding = await self._segments.find(query, sort=[("_id", -1)], limit=1)
        found = [segment for segment in holding if segment["_id"] + segment["n"] > position + 1]
        further = self._segments.iterate({"_id": {"$gt": position + 1}}, sort=[("_id", 1)], batch_size=SEGMENTS_AT_ONCE)
        async with contextlib.aclosing(further):
            async for segment in further:
                if found and segment["_id"] != found[-1]["_id"] + found[-1]["n"]:
                    break  # a restore's gap: who reads on from its edge is told of it
                found.append(segment)
                if segment["_id"] + segment["n"] > position + limit:
                    break
        return found

    async def _keep_watch(self) -> None:
        """Follows the head for as long as somebody waits."""
        self._recent.clear()
        known = False
        try:
            while self._waiting:
                known = known or await self._find_end()
                if known:
                    await self._follow()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._recent.clear()
            self._watch = None

    async def _follow(self) -> None:
        try:
            new = await self._segments.find({"_id": {"$gt": self._last}}, sort=[("_id", 1)], limit=RECENT_SEGMENTS)
        except PyMongoError:
            return  # it is away, as everybody who reads will notice by himself
        async with self._moved:
            for segment in new:
                if self._recent and segment["_id"] != self._recent[-1]["_id"] + self._recent[-1]["n"]:
                    self._recent.clear()
                self._recent.append(segment)
                self._last = segment["_id"] + segment["n"] - 1
            self._moved.notify_all()

    async def _find_end(self) -> bool:
        try:
            self._last = (await self.head()).last
        except PyMongoError:
            return False
        return True
