"""The disk under MongoDB: below 5 % free, what grows is refused while everything else goes on (design §8).

A full disk ends mongod, and with it the mail that is there already. So Deliver and Append answer STORAGE_FULL early
enough; reads, flags, deletions and the queue need little room and free some.
"""

from __future__ import annotations

from mailboat_common import metrics
from mailboat_common.log import get_logger

from .db.driver import Database

log = get_logger(__name__)

CHECK_SECONDS = 10.0

_bytes = metrics.gauge("storage_bytes", "Bytes the database takes on MongoDB's disk: data and indexes")
_free = metrics.gauge("storage_disk_free_ratio", "Free part of MongoDB's disk, 0 to 1")
_refusing = metrics.gauge("storage_full", "1 while mail is refused for want of disk space")


class Space:
    """What was last known of MongoDB's disk."""

    def __init__(self, db: Database, min_free_percent: float) -> None:
        self._db = db
        self._least = min_free_percent / 100
        self.full = False
        """Whether mail is to be refused."""

    async def check(self) -> None:
        """Asks MongoDB. Driver errors pass through; what was known stays."""
        stats = await self._db.command({"dbStats": 1, "freeStorage": 0})
        self.learn(stats)

    def learn(self, stats: dict[str, float]) -> None:
        """Takes the answer of dbStats."""
        _bytes.set(stats.get("totalSize", 0))
        total = stats.get("fsTotalSize", 0)
        if not total:
            return  # a server that doesn't tell (in-memory engine): nothing to go by
        free = 1 - stats["fsUsedSize"] / total
        _free.set(free)
        if (full := free < self._least) != self.full:
            self.full = full
            say = log.error if full else log.info
            say("disk space of MongoDB", refusing_mail=full, free_percent=round(free * 100, 1))
        _refusing.set(self.full)
