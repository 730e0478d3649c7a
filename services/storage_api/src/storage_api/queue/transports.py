"""Where mail for a domain goes: the transport table, `transports` by domain, `*` for all others.

A smarthost's password is kept as it is (the worker must send it) and leaves this service only in the answer to a claim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.queue import TlsMode, Transport

from ..db import schema
from ..db.driver import Database, Document
from ..directory.addresses import normalise_domain
from ..outage import database_errors

EVERY = "*"
MAX_TRANSPORTS = 10_000
MAX_CREDENTIAL = 1000
FRESH_MS = 2000
MAX_KNOWN = 20_000
_MX = Transport()
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]")


def to_document(transport: Transport) -> Document:
    """A transport's fields."""
    return {
        "host": transport.host,
        "port": transport.port,
        "tls": transport.tls.value,
        "username": transport.username,
        "password": transport.password,
    }


def from_document(document: Document) -> Transport:
    """The transport of a document's fields."""
    return Transport(
        document["host"], document["port"], TlsMode(document["tls"]), document["username"], document["password"]
    )


def check(transport: Transport) -> Transport:
    """The transport, if it makes sense. Refused INVALID."""
    if transport.host and not _HOST.fullmatch(transport.host):
        raise Refused(RefusedCode.INVALID, "The host is neither a name nor an address in brackets")
    if not 1 <= transport.port <= 65535:
        raise Refused(RefusedCode.INVALID, "The port isn't between 1 and 65535")
    if transport.password and not transport.username:
        raise Refused(RefusedCode.INVALID, "A password needs a user name")
    if transport.username and not transport.host:
        raise Refused(RefusedCode.INVALID, "Credentials need a host: a domain's MX gets none")
    if transport.username and transport.tls in (TlsMode.NONE, TlsMode.MAY):
        raise Refused(RefusedCode.INVALID, "Credentials need TLS: encrypt, verify or implicit")
    if len(transport.username) > MAX_CREDENTIAL or len(transport.password) > MAX_CREDENTIAL:
        raise Refused(RefusedCode.INVALID, "The credentials are too long")
    return transport


def key_of(text: str) -> str:
    """A table key: `*`, or a domain in its normal form. Refused INVALID."""
    domain = EVERY if text == EVERY else normalise_domain(text)
    if domain is None:
        raise Refused(RefusedCode.INVALID, "Not a domain name, nor *")
    return domain


def key_for(document: Document) -> str:
    """The domain whose entry holds for a queue document: its own, or the one an operator named instead."""
    return str(document.get("route_of") or document["domain"])


class TransportTable:
    """The table as claims read it; what was found is believed for two seconds, also that there is no entry.

    `clock` gives ms since the epoch. An operator's change through another process counts from then on.
    """

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._transports = db[schema.TRANSPORTS]
        self._clock = clock
        self._known: dict[str, tuple[int, Transport | None]] = {}

    def forget(self) -> None:
        """The table was changed by this process."""
        self._known = {}

    async def look_up(self, domains: Iterable[str]) -> dict[str, Transport]:
        """The transport of each of the domains (or table keys)."""
        asked = set(domains)
        wanted = asked | {EVERY}
        now = self._clock()
        entries: dict[str, Transport | None] = {}
        for domain in wanted:
            at, transport = self._known.get(domain, (now - FRESH_MS, None))
            if abs(now - at) < FRESH_MS:
                entries[domain] = transport
        if missing := wanted - entries.keys():
            before = self._known
            found = await self._transports.find({"_id": {"$in": sorted(missing)}})
            entries |= dict.fromkeys(missing) | {document["_id"]: from_document(document) for document in found}
            if self._known is before:  # else it was changed meanwhile
                if len(before) > MAX_KNOWN:
                    before.clear()
                before.update({domain: (now, entries[domain]) for domain in missing})
        other = entries[EVERY] or _MX
        return {domain: entries[domain] or other for domain in asked}


class Transports:
    """The table, for operators. `changed` is called after each change."""

    def __init__(self, db: Database, changed: Callable[[], None] = lambda: None) -> None:
        self._transports = db[schema.TRANSPORTS]
        self._changed = changed

    async def put(self, key: str, transport: Transport) -> str:
        """Add or replace an entry; returns its key. Refused INVALID, LIMIT."""
        key = key_of(key)
        async with database_errors():
            if await self._transports.count({}, limit=MAX_TRANSPORTS) >= MAX_TRANSPORTS:
                raise Refused(RefusedCode.LIMIT, f"There are {MAX_TRANSPORTS} transports already")
            document = {"_id": key, **to_document(check(transport))}
            await self._transports.replace_one({"_id": key}, document, upsert=True)
        self._changed()
        return key

    async def get(self, key: str) -> Transport:
        """One entry. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._transports.find_one({"_id": key_of(key)})
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such transport")
        return from_document(document)

    async def page(self, after: str, limit: int) -> list[tuple[str, Transport]]:
        """Entries by key, after a key."""
        async with database_errors():
            found = await self._transports.find({"_id": {"$gt": after}}, sort=[("_id", 1)], limit=limit)
        return [(document["_id"], from_document(document)) for document in found]

    async def remove(self, key: str) -> None:
        """Remove an entry. Refused NOT_FOUND."""
        async with database_errors():
            if not await self._transports.delete_one({"_id": key_of(key)}):
                raise Refused(RefusedCode.NOT_FOUND, "No such transport")
        self._changed()
