"""The records of idempotency keys (see `idempotency`): one document for each key a token has used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7

from ..db.driver import Database, Document, DuplicateKeyError
from ..directory.schema import IDEMPOTENCY
from ..outage import database_errors

KEEP = timedelta(hours=24)
LEASE_MS = 5_000


@dataclass(frozen=True, slots=True)
class Begun:
    """This request is to be done, by whoever holds `run`; its mutation has this key."""

    record: bytes
    run: bytes
    mutation: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that was given."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Keys:
    """The records. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._records = db[IDEMPOTENCY]
        self._clock = clock

    async def begin(self, token_id: str, key: bytes, fingerprint: bytes) -> Begun | Kept:
        """Takes the request up, or finds its answer.

        Refused INVALID (the key was for another request), CONFLICT (it runs, or its answer wasn't kept).
        """
        record = hashlib.sha256(token_id.encode() + b"\0" + key).digest()
        async with database_errors():
            return await self._begin(record, fingerprint)

    async def _begin(self, record: bytes, fingerprint: bytes) -> Begun | Kept:
        now, run = self._clock(), uuid7()
        fresh: Document = {"_id": record, "f": fingerprint, "run": run, "m": uuid7(), "until": now + LEASE_MS}
        try:
            await self._records.insert_one(fresh | {"expires": datetime.now(UTC) + KEEP})
        except DuplicateKeyError:
            return await self._again(record, fingerprint, run, now)
        return Begun(record, run, fresh["m"])

    async def _again(self, record: bytes, fingerprint: bytes, run: bytes, now: int) -> Begun | Kept:
        found = await self._records.find_one({"_id": record})
        if found is not None and bytes(found["f"]) != fingerprint:
            raise Refused(RefusedCode.INVALID, "The idempotency key was used for another request")
        if found is not None and "status" in found:
            if "body" not in found:
                raise Refused(RefusedCode.CONFLICT, "This was done; its answer was given once and isn't kept")
            headers = tuple((bytes(name), bytes(value)) for name, value in found["headers"])
            return Kept(found["status"], headers, bytes(found["body"]))
        silent = {"_id": record, "status": {"$exists": False}, "until": {"$lt": now}}
        taken = await self._records.find_one_and_update(silent, {"$set": {"run": run, "until": now + LEASE_MS}})
        if taken is None:
            raise Refused(RefusedCode.CONFLICT, "A request with this idempotency key is being worked on")
        return Begun(record, run, bytes(taken["m"]))

    async def finish(self, begun: Begun, answer: Kept, *, keep_body: bool) -> None:
        """Keeps the answer."""
        fields: Document = {"status": answer.status}
        if keep_body:
            fields |= {"headers": [list(pair) for pair in answer.headers], "body": answer.body}
        async with database_errors():
            await self._records.update_one({"_id": begun.record, "run": begun.run}, {"$set": fields})

    async def renew(self, begun: Begun) -> None:
        """We are still at it."""
        async with database_errors():
            until = self._clock() + LEASE_MS
            await self._records.update_one({"_id": begun.record, "run": begun.run}, {"$set": {"until": until}})

    async def forget(self, begun: Begun) -> None:
        """It was refused: the key is free."""
        async with database_errors():
            await self._records.delete_one({"_id": begun.record, "run": begun.run})

    async def release(self, begun: Begun) -> None:
        """We failed, and may have done it: the key may be tried again at once, with the same mutation's key."""
        async with database_errors():
            await self._records.update_one({"_id": begun.record, "run": begun.run}, {"$set": {"until": 0}})
