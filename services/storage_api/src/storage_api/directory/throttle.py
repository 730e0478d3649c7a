"""Slowing down whoever guesses passwords: by client address and by login, shared by all processes.

A key is let off a few failures; each one more closes it for twice as long, up to 15 minutes, and an hour without
failure forgets it. The documents are in MongoDB, so every replica sees the same; only a failure, or a login that this
process doesn't know to be good, touches them. What this process learned is kept in memory as well, so a closed key
costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from ipaddress import ip_address

from mailboat_common.limits import address_key

from ..db.driver import Database
from .addresses import parse
from .schema import THROTTLE

CLIENT_FREE = 20
LOGIN_FREE = 10
FORGET_MS = 3_600_000
LONGEST_SECONDS = 900
LOCAL_LIMIT = 50_000


def client_key(client: str) -> str | None:
    """The key of a client address (IPv6: its /64); None for what isn't an address (a unit test, a local caller)."""
    try:
        return f"c:{address_key(ip_address(client)):x}"
    except ValueError:
        return None


def login_key(login: str) -> str | None:
    """The key of a login, whether it exists or not: one for all the ways to write an address. None for what is no
    address: it lets nobody in, and may be a password that was typed in the wrong place.
    """
    address = parse(login)
    return None if address is None else f"l:{address.full}"


class Throttle:
    """`clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._documents = db[THROTTLE]
        self._clock = clock
        self._closed: dict[str, int] = {}

    def closed_here(self, key: str | None) -> bool:
        """Whether this process knows the key to be closed now."""
        if key is None:
            return False
        until = self._closed.get(key)
        if until is None:
            return False
        if until > self._clock():
            return True
        del self._closed[key]
        return False

    async def closed(self, keys: Iterable[str | None]) -> tuple[bool, bool]:
        """(whether any of the keys is closed, whether any has failures at all), as all processes know it."""
        wanted = [key for key in keys if key is not None]
        found = await self._documents.find({"_id": {"$in": wanted}})
        now = self._clock()
        for document in found:
            if document["until"] > now:
                self._remember(document["_id"], document["until"])
        return any(document["until"] > now for document in found), bool(found)

    async def failed(self, keys: Iterable[str | None]) -> None:
        """Counts one failure for each key."""
        now = self._clock()
        for key in keys:
            if key is None:
                continue
            free = CLIENT_FREE if key.startswith("c:") else LOGIN_FREE
            document = await self._documents.find_one_and_update({"_id": key}, _count(now, free), upsert=True)
            if document is not None and document["until"] > now:
                self._remember(key, document["until"])

    async def succeeded(self, login: str) -> None:
        """Forgets a login's failures (never a client's: it may own one account and guess at others)."""
        if (key := login_key(login)) is not None:
            self._closed.pop(key, None)
            await self._documents.delete_one({"_id": key})

    def _remember(self, key: str, until: int) -> None:
        if len(self._closed) >= LOCAL_LIMIT:
            now = self._clock()
            self._closed = {key: end for key, end in self._closed.items() if end > now}
            if len(self._closed) >= LOCAL_LIMIT:
                self._closed.clear()
        self._closed[key] = until


def _count(now: int, free: int) -> list[dict[str, object]]:
    """An update that counts, and closes once the free failures are used up; atomic on the server."""
    recent = {"$gt": [{"$ifNull": ["$at", 0]}, now - FORGET_MS]}
    excess = {"$min": [{"$subtract": ["$n", free]}, 20]}
    seconds = {"$min": [{"$pow": [2, excess]}, LONGEST_SECONDS]}
    until = {"$add": [now, {"$toLong": {"$multiply": [1000, seconds]}}]}
    expires = datetime.fromtimestamp((now + FORGET_MS) / 1000, UTC)
    return [
        {"$set": {"n": {"$cond": [recent, {"$add": ["$n", 1]}, 1]}, "at": now, "expires": expires}},
        {"$set": {"until": {"$cond": [{"$gt": ["$n", free]}, until, 0]}}},
    ]
