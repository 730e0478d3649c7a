"""One worker at a time follows the stream for RabbitMQ, or for one webhook.

A document has position (the last one done with), holder (16 random octets of the worker's, or "") and until (ms): while
that is ahead, nobody else takes it. Whatever the holder writes later is on condition that it still holds. A lease runs
out by itself when its worker is killed.
"""

from __future__ import annotations

import os
from typing import Any

from ..db.driver import Collection, Document

LEASE_MS = 30_000


class Lease:
    """A worker's hold on documents of one collection."""

    def __init__(self, collection: Collection, lease_ms: int = LEASE_MS) -> None:
        self._documents = collection
        self._holder = os.urandom(16)
        self._lease_ms = lease_ms

    async def take(self, document_id: Any, now: int, also: Document | None = None) -> Document | None:
        """The document, held from now on, or None: somebody else's, or not as `also` demands."""
        query = {"_id": document_id, "$or": [{"until": {"$lte": now}}, {"holder": self._holder}], **(also or {})}
        held = {"$set": {"holder": self._holder, "until": now + self._lease_ms}}
        return await self._documents.find_one_and_update(query, held)

    async def write(self, document_id: Any, update: Document) -> bool:
        """Changes a held document; False if it isn't held any more."""
        return await self._documents.update_one({"_id": document_id, "holder": self._holder}, update) > 0

    async def renew(self, document_id: Any, now: int) -> bool:
        """Holds on; False if it isn't held any more."""
        return await self.write(document_id, {"$set": {"until": now + self._lease_ms}})

    async def release(self, document_id: Any) -> None:
        """Gives a document back."""
        await self.write(document_id, {"$set": {"holder": "", "until": 0}})
