"""Where mail for a domain goes: the transport table, `transports` by domain, `*` for all others.

A smarthost's password is kept as it is (the worker must send it) and leaves this service only in the answer to a claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.queue import TlsMode, Transport

from ..db import schema
from ..db.driver import Database, Document
from ..directory.addresses import normalise_domain
from ..outage import database_errors

EVERY = "*"
MAX_TRANSPORTS = 10_000
MAX_CREDENTIAL = 1000
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


async def look_up(db: Database, domains: Iterable[str]) -> dict[str, Transport]:
    """The transport of each of the domains."""
    wanted = set(domains)
    found = await db[schema.TRANSPORTS].find({"_id": {"$in": [*sorted(wanted), EVERY]}})
    table = {document["_id"]: from_document(document) for document in found}
    other = table.get(EVERY, _MX)
    return {domain: table.get(domain, other) for domain in wanted}


class Transports:
    """The table, for operators."""

    def __init__(self, db: Database) -> None:
        self._transports = db[schema.TRANSPORTS]

    async def put(self, key: str, transport: Transport) -> str:
        """Add or replace an entry; returns its key. Refused INVALID, LIMIT."""
        key = key_of(key)
        async with database_errors():
            if await self._transports.count({}, limit=MAX_TRANSPORTS) >= MAX_TRANSPORTS:
                raise Refused(RefusedCode.LIMIT, f"There are {MAX_TRANSPORTS} transports already")
            document = {"_id": key, **to_document(check(transport))}
            await self._transports.replace_one({"_id": key}, document, upsert=True)
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
