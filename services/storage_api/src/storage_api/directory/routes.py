"""Whom an address leads to in the end: aliases, groups, catch-all, forwarding, the addresses of returned forwards.

An alias is an address of its account; one look-up finds both. Whatever else an address stands for is expanded here, by
`Delivery`, so that mail is treated the same whichever way it came. Rules:

- An address means, in this order: itself; itself without its tag; for postmaster and abuse the domain's administrator
  (else the first domain's that has one); the domain's catch-all.
- An account forwards or takes a copy or both. A disabled account does neither. Each account gets one copy, however many
  ways lead to it.
- Loops end: an account or group met again is passed over, and if nothing else is reached, the first account keeps the
  mail. What left us for another server carries Delivered-To with the address that sent it on; come back, it is filed
  where it would have been forwarded, and refused where it would have gone to a group again.
- At most MAX_DEPTH steps and MAX_TARGETS targets; a group that holds more takes no mail until it is made smaller.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from mailboat_common.errors import Failure
from mailboat_store_client.types import AccountId

from ..db.driver import Database, Document
from .addresses import Address, parse
from .schema import ADDRESSES, DOMAINS, SECRETS
from .srs import DAY_MS, VALID_DAYS, Srs, is_srs

MAX_DEPTH = 10
MAX_TARGETS = 2000
FRESH_MS = 2000
CACHE_ENTRIES = 50_000
KEY_DAYS = 90
KEY_BYTES = 32


@dataclass(slots=True)
class Onward:
    """Addresses elsewhere that one address of ours sends on to.

    `via` "" for a returned forward, which goes on as it is. `owner`: a group's, who gets its bounces.
    """

    via: str
    owner: str = ""
    recipients: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Expansion:
    """What an address leads to: accounts with the tag's hint, addresses elsewhere. `looped`: it was there before.
    `owned`: it is a group's with an owner.
    """

    accounts: dict[AccountId, str | None] = field(default_factory=dict)
    onward: dict[str, Onward] = field(default_factory=dict)
    looped: bool = False
    owned: bool = False

    @property
    def size(self) -> int:
        """Targets."""
        return len(self.accounts) + sum(len(onward.recipients) for onward in self.onward.values())


@dataclass(frozen=True, slots=True)
class _Via:
    address: str
    owner: str = ""


_Step = tuple[str, _Via]
_NOBODY = _Via("")


class Routes:
    """Shared by RCPT's answers and Deliver. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._db = db
        self._clock = clock
        self._plain: dict[AccountId, int] = {}
        self._srs: tuple[int, Srs] | None = None

    def forget(self) -> None:
        """What was found may have changed in this process."""
        self._plain.clear()

    async def forwarding(self, account_ids: Iterable[AccountId]) -> set[AccountId]:
        """Which of them don't simply file their mail; as it was up to two seconds ago."""
        now = self._clock()
        unknown = [a for a in account_ids if now - self._plain.get(a, 0) >= FRESH_MS]
        if not unknown:
            return set()
        found = await self._db["accounts"].find({"_id": {"$in": unknown}, "forward": {"$exists": True}}, {"_id": 1})
        forwarding = {AccountId(bytes(document["_id"])) for document in found}
        if len(self._plain) > CACHE_ENTRIES:
            self._plain.clear()
        self._plain.update((a, now) for a in unknown if a not in forwarding)
        return forwarding

    async def srs(self) -> Srs:
        """The scheme with the platform's keys: a new one each KEY_DAYS, old ones believed while they may return."""
        now = self._clock()
        if self._srs is None or now - self._srs[0] >= 3_600_000:
            self._srs = now, Srs(await self._keys(now))
        return self._srs[1]

    async def _keys(self, now: int) -> list[bytes]:
        secrets = self._db[SECRETS]
        new = {"k": os.urandom(KEY_BYTES), "at": now}
        await secrets.update_one({"_id": "srs"}, {"$setOnInsert": {"keys": [new]}}, upsert=True)
        old_enough = {"_id": "srs", "keys.0.at": {"$lt": now - KEY_DAYS * DAY_MS}}
        await secrets.update_one(old_enough, {"$push": {"keys": {"$each": [new], "$position": 0, "$slice": 4}}})
        document = await secrets.find_one({"_id": "srs"})
        if document is None:
            raise Failure("", "the keys of rewritten senders are gone")
        oldest = now - (KEY_DAYS + VALID_DAYS + 1) * DAY_MS
        keys = document["keys"]
        return [bytes(key["k"]) for i, key in enumerate(keys) if i == 0 or key["at"] >= oldest]

    async def returned(self, address: str) -> str | None:
        """Whom a bounce to one of our rewritten senders goes on to."""
        return (await self.srs()).reverse(address, self._clock()) if is_srs(address) else None

    async def reverse_path(self, onward: Onward, sender: str) -> str:
        """With whose name mail is sent on: the null path and our own senders stay, a group's owner takes its bounces,
        others are rewritten.
        """
        if not sender or not onward.via:
            return sender
        if onward.owner:
            return onward.owner
        parsed = parse(sender)
        if parsed and await self._db[DOMAINS].find_one({"_id": parsed.domain}, {"_id": 1}) is not None:
            return sender
        domain = onward.via.rpartition("@")[2]
        return (await self.srs()).rewrite(sender, domain, self._clock()) or onward.via

    async def expand_address(self, text: str, been: AbstractSet[str] = frozenset()) -> Expansion:
        """Everyone an address of ours leads to. Failure if that are too many."""
        original = await self.returned(text)
        if original is not None:
            return Expansion(onward={"": Onward("", recipients={original: None})})
        return await _Walk(self._db, been).from_addresses([(text, _NOBODY)])

    async def expand_account(
        self, account_id: AccountId, hint: str | None, been: AbstractSet[str] = frozenset()
    ) -> Expansion:
        """Everyone an account's mail goes to. Failure if that are too many."""
        return await _Walk(self._db, been).from_account(account_id, hint)


class _Walk:
    """One expansion, breadth first: two reads a step."""

    def __init__(self, db: Database, been: AbstractSet[str]) -> None:
        self._db = db
        self._been = been
        self._found = Expansion()
        self._seen: set[object] = set()
        self._first: tuple[AccountId, str | None] | None = None

    async def from_addresses(self, steps: list[_Step]) -> Expansion:
        for _ in range(MAX_DEPTH):
            if not steps:
                return self._end()
            steps = await self._step(steps)
        if steps:
            raise Failure("", f"an address leads to others in more than {MAX_DEPTH} steps")
        return self._end()

    async def from_account(self, account_id: AccountId, hint: str | None) -> Expansion:
        return await self.from_addresses(await self._accounts({account_id: hint}))

    def _end(self) -> Expansion:
        found = self._found
        if not found.size and self._first is not None and not found.looped:
            found.accounts[self._first[0]] = self._first[1]
        return found

    async def _step(self, steps: Sequence[_Step]) -> list[_Step]:
        further: list[_Step] = []
        accounts: dict[AccountId, str | None] = {}
        parsed = [(text, via, parse(text)) for text, via in steps]
        domains = await self._domains({address.domain for _, _, address in parsed if address})
        entries = await self._entries([address for _, _, address in parsed if address])
        admin = None
        for text, via, address in parsed:
            if address is None or address.domain not in domains:
                self._elsewhere(text, address, via)
                continue
            entry = entries.get(address.full) or entries.get(address.account)
            if entry is None:
                name = domains[address.domain].get("admin") if address.is_role else None
                if address.is_role and name is None:
                    admin = admin or await first_admin(self._db)
                    name = admin
                name = name or domains[address.domain].get("catch_all")
                if name and ("to", address.full) not in self._seen:
                    self._seen.add(("to", address.full))
                    further.append((name, _Via(address.full)))
            elif "a" in entry:
                tag = address.tag if address.tag and entry["_id"] == address.account else None
                accounts.setdefault(AccountId(bytes(entry["a"])), tag)
            else:
                self._found.owned |= not via.address and "owner" in entry
                further += self._group(entry)
        further += await self._accounts(accounts)
        return further

    def _group(self, entry: Document) -> list[_Step]:
        name = entry["_id"]
        if name in self._been:
            self._found.looped = True
            return []
        if name in self._seen:
            return []
        self._seen.add(name)
        via = _Via(name, entry.get("owner") or "")
        return [(member, via) for member in entry["members"]]

    def _elsewhere(self, text: str, address: Address | None, via: _Via) -> None:
        if not via.address or address is None:
            return  # asked for an address that isn't ours, or a member that is none
        if ("elsewhere", address.full) in self._seen:
            return
        self._seen.add(("elsewhere", address.full))
        onward = self._found.onward.setdefault(via.address, Onward(via.address, via.owner))
        onward.recipients[f"{text.rpartition('@')[0]}@{address.domain}"] = None
        self._bound()

    async def _accounts(self, wanted: dict[AccountId, str | None]) -> list[_Step]:
        further: list[_Step] = []
        new = [account_id for account_id in wanted if account_id not in self._seen]
        self._seen.update(new)
        if not new:
            return further
        query = {"_id": {"$in": new}, "deleted_at": {"$exists": False}}
        documents = {
            AccountId(bytes(d["_id"])): d
            for d in await self._db["accounts"].find(query, ["address", "forward", "disabled"])
        }
        for account_id in new:
            document = documents.get(account_id)
            if document is None or document.get("disabled"):
                continue
            if self._first is None:
                self._first = account_id, wanted[account_id]
            forward = document.get("forward")
            came_back = document.get("address", "") in self._been
            if forward is None or forward["keep"] or came_back:
                self._found.accounts[account_id] = wanted[account_id]
                self._bound()
            if forward is not None and not came_back:
                further += [(to, _Via(document["address"])) for to in forward["to"]]
        return further

    def _bound(self) -> None:
        if self._found.size > MAX_TARGETS:
            raise Failure("", f"an address leads to more than {MAX_TARGETS} targets")

    async def _domains(self, names: AbstractSet[str]) -> dict[str, Document]:
        found = await self._db[DOMAINS].find({"_id": {"$in": sorted(names)}}, ["admin", "catch_all"])
        return {document["_id"]: document for document in found}

    async def _entries(self, wanted: Sequence[Address]) -> dict[str, Document]:
        names = {name for address in wanted for name in (address.full, address.account)}
        found = await self._db[ADDRESSES].find({"_id": {"$in": sorted(names)}})
        return {document["_id"]: document for document in found}


async def first_admin(db: Database) -> str | None:
    """The platform's administrator: that of the oldest domain that has one."""
    found = await db[DOMAINS].find({"admin": {"$exists": True}}, ["admin"], sort=[("created_at", 1)], limit=1)
    return str(found[0]["admin"]) if found else None
