"""The domains this platform takes mail for. Their first account is their administrator until another is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailboat_common.errors import Refused, RefusedCode

from ..db.driver import Database, Document, DuplicateKeyError, Session
from ..outage import database_errors, transact
from ..store import retention
from . import addresses
from .schema import ADDRESSES, DKIM_KEYS, DOMAINS


@dataclass(frozen=True, slots=True)
class Domain:
    """`admin` gets the mail of postmaster@ and abuse@; None while there is no account. `created_at` in ms.

    `pop3_retention_days` holds for accounts that have none of their own; None: never.
    """

    name: str
    admin: str | None
    created_at: int
    pop3_retention_days: int | None = None


class Domains:
    """What operators do with domains. `clock` gives ms since the epoch; `changed` is called after each change."""

    def __init__(self, db: Database, clock: Callable[[], int], changed: Callable[[], None]) -> None:
        self._db = db
        self._domains = db[DOMAINS]
        self._clock = clock
        self._changed = changed

    async def add(self, name: str) -> Domain:
        """Adds a domain. Refused INVALID, ALREADY_EXISTS."""
        domain = Domain(addresses.require_domain(name), None, self._clock())
        async with database_errors():
            try:
                await self._domains.insert_one({"_id": domain.name, "created_at": domain.created_at})
            except DuplicateKeyError:
                raise Refused(RefusedCode.ALREADY_EXISTS, "The domain exists already") from None
        self._changed()
        return domain

    async def get(self, name: str) -> Domain:
        """One domain. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._domains.find_one({"_id": addresses.normalise_domain(name)})
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such domain")
        return _domain(document)

    async def page(self, after: str, limit: int) -> list[Domain]:
        """Up to `limit` domains by name, behind `after`."""
        async with database_errors():
            found = await self._domains.find({"_id": {"$gt": after}}, sort=[("_id", 1)], limit=limit)
        return [_domain(document) for document in found]

    async def set_admin(self, name: str, address: str) -> Domain:
        """Names the account that gets the mail of postmaster@ and abuse@. Refused NOT_FOUND."""
        parsed = addresses.require(address)
        async with database_errors():
            if await self._db[ADDRESSES].find_one({"_id": parsed.full}) is None:
                raise Refused(RefusedCode.NOT_FOUND, "No such account")
            query = {"_id": addresses.normalise_domain(name)}
            document = await self._domains.find_one_and_update(query, {"$set": {"admin": parsed.full}})
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such domain")
        self._changed()
        return _domain(document)

    async def set_pop3_retention(self, name: str, days: int | None) -> Domain:
        """After how many days what POP3 retrieved is removed; None: never. Refused NOT_FOUND."""
        change: Document = {"$unset": {retention.FIELD: ""}} if days is None else {"$set": {retention.FIELD: days}}
        async with database_errors():
            query = {"_id": addresses.normalise_domain(name)}
            document = await self._domains.find_one_and_update(query, change)
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such domain")
        return _domain(document)

    async def remove(self, name: str) -> None:
        """Removes a domain without accounts, aliases and groups. Refused NOT_FOUND, CONFLICT."""
        domain = addresses.normalise_domain(name)

        async def work(session: Session) -> None:
            # The deletion comes first: an account created meanwhile writes the same document and conflicts.
            if not await self._domains.delete_one({"_id": domain}, session=session):
                raise Refused(RefusedCode.NOT_FOUND, "No such domain")
            if await self._db[ADDRESSES].count({"domain": domain}, session=session, limit=1):
                raise Refused(RefusedCode.CONFLICT, "The domain still has accounts, aliases or groups")
            await self._db[DKIM_KEYS].delete_many({"domain": domain}, session=session)

        await transact(self._db, work)
        self._changed()


def _domain(document: Document) -> Domain:
    return Domain(document["_id"], document.get("admin"), document["created_at"], document.get(retention.FIELD))
