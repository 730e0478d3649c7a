"""What operators do with aliases, groups, catch-alls and forwarding.

An alias, a group and an account's own address are documents of one collection, so no address has two meanings. What
they lead to may be in any domain, here or elsewhere; it is judged when mail comes (`routes`), so a target may be made
later than what names it. An account that is deleted takes its aliases along and leaves all groups.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mailboat_common.errors import Refused, RefusedCode

from ..db.driver import Database, Document, DuplicateKeyError, Session
from ..outage import database_errors, transact
from . import addresses
from .schema import ADDRESSES, DOMAINS

MAX_MEMBERS = 1000
MAX_FORWARDS = 20
ALIAS = "alias"
GROUP = "group"


class Who(enum.Enum):
    """Who may write to a group. Its owner always may."""

    ANYONE = "anyone"
    MEMBERS = "members"
    DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Alias:
    """Another address of an account. `created_at` in ms."""

    address: str
    account: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Group:
    """An address of several. `owner` gets what its members' servers return; None: the sender does."""

    address: str
    members: tuple[str, ...]
    who: Who
    owner: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Where an account's mail goes; `keep`: a copy stays. No addresses: it isn't forwarded."""

    to: tuple[str, ...]
    keep: bool


class Aliases:
    """`clock` gives ms since the epoch; `changed` is called after each change."""

    def __init__(self, db: Database, clock: Callable[[], int], changed: Callable[[], None]) -> None:
        self._db = db
        self._addresses = db[ADDRESSES]
        self._accounts = db["accounts"]
        self._domains = db[DOMAINS]
        self._clock = clock
        self._changed = changed

    async def add_alias(self, address: str, account: str) -> Alias:
        """Give an account another address. Refused INVALID, NOT_FOUND (domain, account), ALREADY_EXISTS."""
        parsed = addresses.require(address)
        own = addresses.require(account).full
        now = self._clock()

        async def work(session: Session) -> None:
            entry = await self._addresses.find_one({"_id": own}, session=session)
            if entry is None or "a" not in entry or "kind" in entry:
                raise Refused(RefusedCode.NOT_FOUND, "No such account")
            await self._take(parsed, {"a": entry["a"], "kind": ALIAS, "created_at": now}, session)
            # Written, so that the account's deletion at the same moment conflicts.
            await self._accounts.update_one({"_id": entry["a"]}, {"$inc": {"aliases": 1}}, session=session)

        await self._create(work)
        return Alias(parsed.full, own, now)

    async def get_alias(self, address: str) -> Alias:
        """One alias. Refused NOT_FOUND."""
        document = await self._find(address, ALIAS, "No such alias")
        return (await self._shown([document]))[0]

    async def aliases(self, domain: str | None, account: str | None, after: str, limit: int) -> list[Alias]:
        """Up to `limit` aliases (of a domain, of an account) by address, behind `after`."""
        query: Document = {}
        if account is not None:
            parsed = addresses.parse(account)
            async with database_errors():
                entry = parsed and await self._addresses.find_one({"_id": parsed.full})
            query["a"] = entry["a"] if entry and "a" in entry else b""
        return await self._shown(await self._page(ALIAS, query, domain, after, limit))

    async def remove_alias(self, address: str) -> None:
        """Take an alias away. Refused NOT_FOUND."""
        await self._remove(address, ALIAS, "No such alias")

    async def add_group(self, address: str, members: Sequence[str], who: Who, owner: str | None) -> Group:
        """A new group. Refused INVALID, NOT_FOUND (domain), ALREADY_EXISTS."""
        parsed = addresses.require(address)
        fields: Document = {"kind": GROUP, "members": _targets(members, MAX_MEMBERS), "who": who.value}
        fields["created_at"] = self._clock()
        if owner is not None:
            fields["owner"] = _target(owner)
        await self._create(lambda session: self._take(parsed, fields, session))
        return _group({"_id": parsed.full, **fields})

    async def get_group(self, address: str) -> Group:
        """One group. Refused NOT_FOUND."""
        return _group(await self._find(address, GROUP, "No such group"))

    async def groups(self, domain: str | None, after: str, limit: int) -> list[Group]:
        """Up to `limit` groups (of a domain) by address, behind `after`."""
        return [_group(document) for document in await self._page(GROUP, {}, domain, after, limit)]

    async def change_group(self, address: str, changes: dict[str, Any]) -> Group:
        """Set `members` [address], `who` or `owner` (None: nobody), whichever is given. Refused NOT_FOUND, INVALID."""
        fields: Document = {}
        update: Document = {}
        if "members" in changes:
            fields["members"] = _targets(changes["members"], MAX_MEMBERS)
        if "who" in changes:
            fields["who"] = changes["who"].value
        if changes.get("owner") is not None:
            fields["owner"] = _target(changes["owner"])
        elif "owner" in changes:
            update["$unset"] = {"owner": ""}
        if fields:
            update["$set"] = fields
        return await self._update_group(address, update) if update else await self.get_group(address)

    async def add_members(self, address: str, members: Sequence[str]) -> Group:
        """Take addresses into a group; those in it stay once. Refused NOT_FOUND, INVALID."""
        new = _targets(members, MAX_MEMBERS)
        room = {f"members.{MAX_MEMBERS - len(new)}": {"$exists": False}}
        try:
            return await self._update_group(address, {"$addToSet": {"members": {"$each": new}}}, room)
        except Refused:
            await self.get_group(address)
            raise Refused(RefusedCode.INVALID, f"A group has at most {MAX_MEMBERS} members") from None

    async def remove_members(self, address: str, members: Sequence[str]) -> Group:
        """Take addresses out of a group. Refused NOT_FOUND, INVALID."""
        gone = _targets(members, MAX_MEMBERS)
        return await self._update_group(address, {"$pull": {"members": {"$in": gone}}})

    async def remove_group(self, address: str) -> None:
        """Take a group away. Refused NOT_FOUND."""
        await self._remove(address, GROUP, "No such group")

    async def forwarding(self, account: str) -> Forwarding:
        """An account's forwarding. Refused NOT_FOUND."""
        entry = await self._find(account, None, "No such account")
        async with database_errors():
            document = await self._accounts.find_one({"_id": entry["a"]}, ["forward"])
        forward = (document or {}).get("forward")
        return Forwarding(tuple(forward["to"]), forward["keep"]) if forward else Forwarding((), True)

    async def set_forwarding(self, account: str, to: Sequence[str], *, keep: bool) -> Forwarding:
        """Send an account's mail on. Its own address among the targets is a copy kept. Refused NOT_FOUND, INVALID."""
        entry = await self._find(account, None, "No such account")
        wanted = _targets(to, MAX_FORWARDS)
        others = [address for address in wanted if address != entry["_id"]]
        keep = keep or len(others) < len(wanted) or not others
        forward = {"$set": {"forward": {"to": others, "keep": keep}}} if others else {"$unset": {"forward": ""}}
        async with database_errors():
            await self._accounts.update_one({"_id": entry["a"]}, forward)
        self._changed()
        return Forwarding(tuple(others), keep)

    async def set_catch_all(self, domain: str, target: str | None) -> str | None:
        """Who gets mail for a domain's unknown addresses; None: nobody. Refused NOT_FOUND, INVALID."""
        address = None if target is None else _target(target)
        change = {"$unset": {"catch_all": ""}} if address is None else {"$set": {"catch_all": address}}
        async with database_errors():
            query = {"_id": addresses.normalise_domain(domain)}
            document = await self._domains.find_one_and_update(query, change)
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such domain")
        self._changed()
        return address

    async def catch_all(self, domain: str) -> str | None:
        """Who gets mail for a domain's unknown addresses. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._domains.find_one({"_id": addresses.normalise_domain(domain)})
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such domain")
        return document.get("catch_all")

    # Shared

    async def _take(self, address: addresses.Address, fields: Document, session: Session) -> None:
        """Insert an address of a domain of ours."""
        # Written, so that the domain's removal at the same moment conflicts.
        written = await self._domains.update_one({"_id": address.domain}, {"$inc": {"addresses": 1}}, session=session)
        if not written:
            raise Refused(RefusedCode.NOT_FOUND, "The address's domain doesn't exist")
        await self._addresses.insert_one({"_id": address.full, "domain": address.domain, **fields}, session=session)

    async def _create(self, work: Callable[[Session], Any]) -> None:
        try:
            await transact(self._db, work)
        except DuplicateKeyError:
            raise Refused(RefusedCode.ALREADY_EXISTS, "The address is taken") from None
        self._changed()

    async def _update_group(self, address: str, update: Document, condition: Document | None = None) -> Group:
        parsed = addresses.parse(address)
        query = {"_id": parsed.full if parsed else "", "kind": GROUP, **(condition or {})}
        async with database_errors():
            document = await self._addresses.find_one_and_update(query, update)
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such group")
        self._changed()
        return _group(document)

    async def _find(self, address: str, kind: str | None, missing: str) -> Document:
        parsed = addresses.parse(address)
        query: Document = {"_id": parsed.full if parsed else "", "kind": kind or {"$exists": False}}
        async with database_errors():
            document = await self._addresses.find_one(query)
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, missing)
        return document

    async def _page(self, kind: str, query: Document, domain: str | None, after: str, limit: int) -> list[Document]:
        query = {**query, "kind": kind, "_id": {"$gt": after}}
        if domain is not None:
            query["domain"] = addresses.normalise_domain(domain) or ""
        async with database_errors():
            return await self._addresses.find(query, sort=[("_id", 1)], limit=limit)

    async def _remove(self, address: str, kind: str, missing: str) -> None:
        document = await self._find(address, kind, missing)
        async with database_errors():
            if not await self._addresses.delete_one({"_id": document["_id"], "kind": kind}):
                raise Refused(RefusedCode.NOT_FOUND, missing)
        self._changed()

    async def _shown(self, found: Sequence[Document]) -> list[Alias]:
        async with database_errors():
            owners = await self._accounts.find({"_id": {"$in": list({d["a"] for d in found})}}, ["address"])
        names = {bytes(owner["_id"]): owner.get("address", "") for owner in owners}
        return [Alias(d["_id"], names.get(bytes(d["a"]), ""), d["created_at"]) for d in found]


def _target(text: str) -> str:
    """Where mail may lead: a normalised address here or elsewhere. Refused INVALID."""
    address = addresses.parse(text)
    if address is None:
        raise Refused(RefusedCode.INVALID, "Not a mail address")
    return address.full


def _targets(texts: Sequence[str], limit: int) -> list[str]:
    """The same for many, each once."""
    found = list(dict.fromkeys(_target(text) for text in texts))
    if len(found) > limit:
        raise Refused(RefusedCode.INVALID, f"At most {limit} addresses")
    return found


def _group(document: Document) -> Group:
    return Group(
        document["_id"],
        tuple(document["members"]),
        Who(document["who"]),
        document.get("owner"),
        document["created_at"],
    )
