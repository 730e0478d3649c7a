"""The suppression list: addresses elsewhere that get no mail from here, and those that always may.

Filled by bounces (`queue/hard_bounce.py`) and by operators. An entry is found under the normalised address (RFC 5321
2.4 as `addresses` reads it); one that has expired counts as gone, whenever MongoDB removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from mailboat_common.errors import Refused, RefusedCode

from ..db import schema
from ..db.driver import Database, Document
from ..db.gathered import Gathered
from ..outage import database_errors
from .addresses import parse
from .schema import DOMAINS

SUPPRESSED, ALLOWED = "suppressed", "allowed"
MAX_NOTE = 500


@dataclass(frozen=True, slots=True)
class Suppression:
    """An entry. `kind` suppressed or allowed; times in ms since the epoch, `expires_at` None: never.

    `reason` is "bounce" or an operator's note; `status`, `reply`, `host` and `trace_id` are a bounce's.
    """

    address: str
    kind: str
    reason: str
    at: int
    expires_at: int | None = None
    status: str = ""
    reply: str = ""
    host: str = ""
    trace_id: str = ""


class Suppressions:
    """The list, for operators and for whoever takes mail. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._entries = db[schema.SUPPRESSIONS]
        self._domains = db[DOMAINS]
        self._clock = clock
        self._gathered = Gathered(self._read)

    async def page(self, after: str, limit: int, *, kind: str | None = None) -> list[Suppression]:
        """Entries by address, those after `after`."""
        query: Document = {"_id": {"$gt": after}} | self._alive() | ({"kind": kind} if kind else {})
        async with database_errors():
            found = await self._entries.find(query, sort=[("_id", 1)], limit=limit)
        return [_value(document) for document in found]

    async def get(self, address: str) -> Suppression:
        """One entry. Refused NOT_FOUND."""
        async with database_errors():
            found = await self._entries.find_one({"_id": _key(address)} | self._alive())
        if found is None:
            raise Refused(RefusedCode.NOT_FOUND, "The address is not on the list")
        return _value(found)

    async def put(self, address: str, kind: str, *, note: str, expires_at: int | None) -> Suppression:
        """Add or replace an entry. Refused INVALID for an address of ours: its mail never leaves."""
        key = _key(address)
        document: Document = {"_id": key, "kind": kind, "reason": note[:MAX_NOTE], "at": self._clock()}
        if expires_at is not None:
            document["expires"] = datetime.fromtimestamp(expires_at / 1000, UTC)
        async with database_errors():
            if await self._domains.find_one({"_id": key.rpartition("@")[2]}, {"_id": 1}) is not None:
                raise Refused(RefusedCode.INVALID, "The address is one of this platform")
            await self._entries.replace_one({"_id": key}, document, upsert=True)
        return _value(document)

    async def remove(self, address: str) -> None:
        """Take an entry off the list. Refused NOT_FOUND."""
        async with database_errors():
            removed = await self._entries.delete_one({"_id": _key(address)})
        if not removed:
            raise Refused(RefusedCode.NOT_FOUND, "The address is not on the list")

    async def suppressed(self, addresses: Iterable[str]) -> set[str]:
        """Those of the normalised addresses that get no mail now."""
        entries = await self._gathered.find(set(addresses))
        now = self._now()
        return {
            address
            for address, entry in entries.items()
            if entry["kind"] == SUPPRESSED and ("expires" not in entry or entry["expires"] > now)
        }

    async def _read(self, addresses: list[str]) -> dict[str, Document]:
        """By `_id` alone, which needs no plan; few addresses have an entry."""
        found = await self._entries.find({"_id": {"$in": addresses}}, ["kind", "expires"])
        return {document["_id"]: document for document in found}

    def _alive(self) -> Document:
        return {"$or": [{"expires": {"$exists": False}}, {"expires": {"$gt": self._now()}}]}

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1000, UTC)


def _key(text: str) -> str:
    address = parse(text)
    if address is None:
        raise Refused(RefusedCode.INVALID, "Not a mail address")
    return address.full


def _value(document: Document) -> Suppression:
    expires = document.get("expires")
    return Suppression(
        address=document["_id"],
        kind=document["kind"],
        reason=document["reason"],
        at=document["at"],
        expires_at=int(expires.timestamp() * 1000) if expires is not None else None,
        status=document.get("status", ""),
        reply=document.get("reply", ""),
        host=document.get("host", ""),
        trace_id=document.get("trace", ""),
    )
