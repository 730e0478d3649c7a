"""The Directory port on MongoDB: who an address leads to, who may log in, who may send as whom.

What SMTP asks at RCPT may be a moment old (store.md, rule 14: the commit decides), so what was found is kept for two
seconds; what wasn't is asked again each time, so that a new account gets mail at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mailboat_store_client.types import (
    BY_ADDRESS,
    NO_ACCOUNT,
    AccountId,
    AuthResult,
    RecipientStatus,
    Resolution,
)

from ..db.driver import Database, Document
from ..db.gathered import Gathered
from ..outage import database_errors
from ..store.reads import quota_of
from .addresses import ROLES, Address, parse
from .aliases import Who
from .authenticate import Authenticator
from .routes import Routes, first_admin
from .schema import ADDRESSES, DOMAINS
from .srs import is_srs
from .suppressions import Suppressions

V = TypeVar("V")

FRESH_MS = 2000
CACHE_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class _Account:
    account_id: AccountId
    disabled: bool
    over_quota: bool  # and it takes a copy itself


class _Fresh(Generic[V]):
    """Values that are believed for two seconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._values: dict[str, tuple[int, V]] = {}

    def get(self, key: str) -> V | None:
        entry = self._values.get(key)
        return entry[1] if entry is not None and self._clock() - entry[0] < FRESH_MS else None

    def put(self, key: str, value: V) -> None:
        if len(self._values) >= CACHE_ENTRIES:
            self._values.clear()
        self._values[key] = self._clock(), value

    def clear(self) -> None:
        self._values.clear()


class MongoDirectory:
    """The Directory port. `clock` gives ms since the epoch; `routes` are Deliver's, if this process has one."""

    def __init__(
        self, db: Database, authenticator: Authenticator, clock: Callable[[], int], routes: Routes | None = None
    ) -> None:
        self._db = db
        self._routes = routes or Routes(db, clock)
        self._domains = db[DOMAINS]
        self._addresses = db[ADDRESSES]
        self._suppressions = Suppressions(db, clock)
        self._authenticator = authenticator
        self._known_domains: _Fresh[str] = _Fresh(clock)
        self._gathered_domains = Gathered(self._read_domains)
        self._gathered_accounts = Gathered(self._read_accounts)
        self._known_accounts: _Fresh[_Account] = _Fresh(clock)

    def forget(self) -> None:
        """What was found may have changed in this process."""
        self._known_domains.clear()
        self._known_accounts.clear()
        self._routes.forget()

    async def authenticate(self, login: str, password: str, *, protocol: str, client: str) -> AuthResult:
        """See `ports.Directory`; one log line for each login is the gateways' duty."""
        return await self._authenticator.authenticate(login, password, client)

    async def resolve(
        self, addresses: Sequence[str], *, sender: str = "", account_id: AccountId = NO_ACCOUNT
    ) -> list[Resolution]:
        """See `ports.Directory`."""
        async with database_errors():
            parsed = [await self._with_domain(address) for address in addresses]
            domains = await self._find_domains({address.domain for address in parsed if address is not None})
            local = [address for address in parsed if address is not None and address.domain in domains]
            found = await self._find_accounts({name for address in local for name in (address.full, address.account)})
            elsewhere = {address.full for address in parsed if address and address.domain not in domains}
            suppressed = await self._suppressions.suppressed(elsewhere)
            return [
                Resolution(
                    text, RecipientStatus.NOT_LOCAL, suppressed=address is not None and address.full in suppressed
                )
                if address is None or address.domain not in domains
                else await self._resolve(text, address, domains, found, (sender, account_id))
                for text, address in zip(addresses, parsed, strict=True)
            ]

    async def _resolve(
        self,
        text: str,
        address: Address,
        domains: dict[str, str],
        found: dict[str, _Account],
        sender: tuple[str, AccountId],
    ) -> Resolution:
        for name in (address.full, address.account):
            if name in found:
                return _resolution(text, address, name, found[name])
        if is_srs(text):
            return await self._returned(text, *sender)
        names = [address.full, address.account]
        group = await self._addresses.find_one({"_id": {"$in": names}, "kind": "group"})
        if group is not None and not await self._may_write(group, *sender):
            return Resolution(text, RecipientStatus.NOT_PERMITTED, restricted=True)
        if group is None and address.is_role:
            admin = domains[address.domain] or await first_admin(self._db) or ""
            accounts = await self._find_accounts([admin])
            if admin in accounts:
                return _resolution(text, address, admin, accounts[admin])
        leads = (await self._routes.expand_address(address.full)).size > 0
        if not leads:
            return Resolution(text, RecipientStatus.UNKNOWN)
        restricted = group is not None and group["who"] != Who.ANYONE.value
        return Resolution(text, RecipientStatus.LOCAL, BY_ADDRESS, restricted=restricted)

    async def _returned(self, text: str, sender: str, account_id: AccountId) -> Resolution:
        """A rewritten sender of ours takes bounces only (see `srs`)."""
        if sender or account_id != NO_ACCOUNT or await self._routes.returned(text) is None:
            return Resolution(text, RecipientStatus.UNKNOWN, restricted=True)
        return Resolution(text, RecipientStatus.LOCAL, BY_ADDRESS, restricted=True)

    async def _may_write(self, group: Document, sender: str, account_id: AccountId) -> bool:
        """Whether a group takes mail from this sender. One of ours must have logged in; of others the reverse-path
        is believed, which is all there is.
        """
        who = Who(group["who"])
        if who is Who.ANYONE:
            return True
        mine: set[str] = set()
        if account_id != NO_ACCOUNT:
            mine = {entry["_id"] for entry in await self._addresses.find({"a": account_id}, ["_id"])}
        elif (parsed := parse(sender)) and parsed.domain not in await self._find_domains({parsed.domain}):
            mine = {parsed.full}
        if group.get("owner") in mine:
            return True
        if who is Who.DOMAIN:
            return account_id != NO_ACCOUNT and any(name.endswith("@" + group["domain"]) for name in mine)
        return not mine.isdisjoint(group["members"])

    async def owns(self, account_id: AccountId, addresses: Sequence[str]) -> list[bool]:
        """See `ports.Directory`."""
        async with database_errors():
            parsed = [parse(address) for address in addresses]
            names = {name for address in parsed if address for name in (address.full, address.account)}
            found = await self._find_accounts(names)
        owners = [
            None if address is None else found.get(address.full) or found.get(address.account) for address in parsed
        ]
        return [owner is not None and owner.account_id == account_id for owner in owners]

    async def _with_domain(self, text: str) -> Address | None:
        """The address; a bare "postmaster" is that of the oldest domain (RFC 5321 4.5.1)."""
        if "@" in text or text.casefold() not in ROLES:
            return parse(text)
        oldest = await self._domains.find({}, ["_id"], sort=[("created_at", 1)], limit=1)
        return parse(f"{text}@{oldest[0]['_id']}") if oldest else None

    async def _find_domains(self, names: set[str]) -> dict[str, str]:
        """Those that are ours, with their administrator's address ("" for none)."""
        found: dict[str, str] = {}
        for name in names:
            admin = self._known_domains.get(name)
            if admin is not None:
                found[name] = admin
        for name, admin in (await self._gathered_domains.find(names - found.keys())).items():
            found[name] = admin
            self._known_domains.put(name, admin)
        return found

    async def _read_domains(self, names: list[str]) -> dict[str, str]:
        found = await self._domains.find({"_id": {"$in": names}}, ["admin"])
        return {document["_id"]: document.get("admin") or "" for document in found}

    async def _find_accounts(self, names: Iterable[str]) -> dict[str, _Account]:
        """The accounts these addresses belong to."""
        wanted = set(names)
        found: dict[str, _Account] = {}
        for name in wanted:
            account = self._known_accounts.get(name)
            if account is not None:
                found[name] = account
        for name, account in (await self._gathered_accounts.find(wanted - found.keys())).items():
            found[name] = account
            self._known_accounts.put(name, account)
        return found

    async def _read_accounts(self, names: list[str]) -> dict[str, _Account]:
        """By address, in one round trip."""
        lookup = {"from": "accounts", "localField": "a", "foreignField": "_id", "as": "account"}
        fields = {"account._id": 1, "account.disabled": 1, "account.deleted_at": 1, "account.forward": 1}
        fields |= {"account.quota_bytes": 1, "account.quota_messages": 1, "account.usage": 1}
        pipeline: list[Document] = [
            {"$match": {"_id": {"$in": names}}},
            {"$lookup": lookup},
            {"$project": fields},
        ]
        found = await self._addresses.aggregate(pipeline)
        return {
            document["_id"]: _account_of(document["account"][0])
            for document in found
            if document["account"] and document["account"][0].get("deleted_at") is None
        }


def _account_of(document: Document) -> _Account:
    takes_copy = document.get("forward", {"keep": True})["keep"]
    return _Account(
        AccountId(bytes(document["_id"])), bool(document.get("disabled")), quota_of(document).exhausted and takes_copy
    )


def _resolution(text: str, address: Address, name: str, account: _Account) -> Resolution:
    tag = address.tag if name == address.account and address.tag else None
    if account.disabled and not address.is_role:
        return Resolution(text, RecipientStatus.DISABLED)
    if account.over_quota and not address.is_role:
        return Resolution(text, RecipientStatus.OVER_QUOTA, account.account_id, tag)
    return Resolution(text, RecipientStatus.LOCAL, account.account_id, tag)
