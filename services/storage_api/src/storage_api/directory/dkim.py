"""DKIM keys of our domains: made, rotated and retired (RFC 6376 3.1 and 5.2, RFC 8301, RFC 8463).

A domain has a pair of keys at a time, RSA with 2048 bits and Ed25519, each with a selector of its own. Rules:
- the first pair signs at once: until it is published its signatures count as none, which is what there was before;
- a later pair is *pending* until it is published (`activate`: the worker does it when DNS shows the pair, or an
  operator says so). Then it is *active* and signs; the pair before is *retiring*: it signs nothing and stays published
  for `RETIRE_MS`, longer than any server keeps a message in its queue, and is then removed with its private key;
- every change is a transaction that writes the domain's document first, so that two of them never run at once and a
  domain that is removed meanwhile gets no keys;
- private keys leave this module only as `SigningKey`, for the signer of the same process: no answer and no log has one.
"""

from __future__ import annotations

import asyncio
import enum
import string
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_mime import dkim_keys
from mailboat_mime.dkim_keys import Algorithm, SigningKey

from ..db.driver import Database, Document, Session
from ..outage import database_errors, transact
from . import addresses
from .schema import DKIM_KEYS, DOMAINS

log = get_logger(__name__)

RETIRE_MS = 14 * 24 * 3600 * 1000
MAX_SWEEP = 100
MAX_PARSED = 4000
_SHOWN = ["domain", "selector", "algorithm", "public", "state", "created_at", "activated_at", "retires_at"]


class KeyState(enum.Enum):
    """Where a key is in its life."""

    PENDING = "pending"  # to be published; signs nothing yet
    ACTIVE = "active"  # signs
    RETIRING = "retiring"  # signs no more, stays published


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A key without its private half. Times in ms since the epoch, None if that hasn't happened.

    `public` is the value of p=; `retires_at` says when a retiring key is removed.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    public: str
    state: KeyState
    created_at: int
    activated_at: int | None = None
    retires_at: int | None = None

    @property
    def name(self) -> str:
        """Where it is published."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The TXT record, in one piece."""
        return dkim_keys.record_text(self.algorithm, self.public)


class DkimKeys:
    """The keys of all domains. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._db = db
        self._keys = db[DKIM_KEYS]
        self._clock = clock
        self._parsed: OrderedDict[str, SigningKey] = OrderedDict()  # by PEM: parsing an RSA key checks it, some 50 ms

    async def of(self, name: str) -> list[DkimKey]:
        """A domain's keys, the active ones first; its first pair is made if it has none. Refused NOT_FOUND."""
        domain = addresses.normalise_domain(name) or ""
        found = await self._find(domain)
        if not found:
            await self._make(domain, only_first=True)
            found = await self._find(domain)
        return found

    async def rotate(self, name: str) -> list[DkimKey]:
        """Makes a pending pair, if there is none, and returns all keys. Refused NOT_FOUND."""
        domain = addresses.normalise_domain(name) or ""
        await self._make(domain, only_first=False)
        return await self._find(domain)

    async def activate(self, name: str) -> list[DkimKey]:
        """The pending pair signs from now on, the active one retires. Refused NOT_FOUND, CONFLICT if there is none."""
        domain = addresses.normalise_domain(name) or ""
        now = self._clock()

        async def work(session: Session) -> None:
            await self._lock(domain, session)
            pending = {"domain": domain, "state": KeyState.PENDING.value}
            if not await self._keys.count(pending, session=session, limit=1):
                raise Refused(RefusedCode.CONFLICT, "The domain has no pending keys")
            retiring = {"state": KeyState.RETIRING.value, "retires_at": now + RETIRE_MS}
            await self._keys.update_many(
                {"domain": domain, "state": KeyState.ACTIVE.value}, {"$set": retiring}, session=session
            )
            active = {"state": KeyState.ACTIVE.value, "activated_at": now}
            await self._keys.update_many(pending, {"$set": active}, session=session)

        await transact(self._db, work)
        log.info("DKIM keys activated", domain=domain)
        return await self._find(domain)

    async def pending_domains(self, after: str, limit: int) -> list[str]:
        """Up to `limit` names of domains with pending keys, in order, behind `after`."""
        query = {"state": KeyState.PENDING.value, "domain": {"$gt": after}}
        async with database_errors():
            found = await self._keys.find(query, ["domain"], sort=[("domain", 1)], limit=2 * limit)
        return sorted({document["domain"] for document in found})[:limit]

    async def retire(self, now: int) -> bool:
        """Removes up to 100 keys whose time has come; whether more may wait."""
        async with database_errors():
            query = {"state": KeyState.RETIRING.value, "retires_at": {"$lte": now}}
            found = await self._keys.find(query, ["domain"], limit=MAX_SWEEP)
            for document in found:
                await self._keys.delete_one({"_id": document["_id"], "state": KeyState.RETIRING.value})
                log.info("DKIM key retired", key=document["_id"])
        return len(found) == MAX_SWEEP

    async def signing_keys(self, domain: str) -> list[SigningKey]:
        """The active keys of a domain (A-labels), made if it has none; empty if the domain isn't ours."""
        query = {"domain": domain, "state": KeyState.ACTIVE.value}
        async with database_errors():
            found = await self._keys.find(query, sort=[("algorithm", -1)])
            if not found and await self._db[DOMAINS].find_one({"_id": domain}, ["_id"]) is None:
                return []
        if not found:
            try:
                await self._make(domain, only_first=True)
            except Refused:  # removed in this moment
                return []
            async with database_errors():
                found = await self._keys.find(query, sort=[("algorithm", -1)])
        known = [self._parsed.get(document["private"]) for document in found]
        if all(key is not None for key in known):
            return [key for key in known if key is not None]
        parsed = await asyncio.to_thread(lambda: [_signing_key(document) for document in found])
        for document, key in zip(found, parsed, strict=True):
            self._parsed[document["private"]] = key
        while len(self._parsed) > MAX_PARSED:
            self._parsed.popitem(last=False)
        return parsed

    async def _find(self, domain: str) -> list[DkimKey]:
        async with database_errors():
            found = await self._keys.find({"domain": domain}, _SHOWN)
        order = [KeyState.ACTIVE, KeyState.PENDING, KeyState.RETIRING]
        keys = [_key(document) for document in found]
        return sorted(keys, key=lambda key: (order.index(key.state), key.created_at, key.selector))

    async def _make(self, domain: str, *, only_first: bool) -> None:
        """A pair for a domain that has none (`only_first`), or none that is pending."""
        made = {algorithm: await asyncio.to_thread(dkim_keys.generate, algorithm) for algorithm in Algorithm}
        now = self._clock()

        async def work(session: Session) -> None:
            await self._lock(domain, session)
            there = await self._keys.find({"domain": domain}, ["selector", "state"], session=session)
            state = KeyState.PENDING if there else KeyState.ACTIVE
            if there and (only_first or any(key["state"] == KeyState.PENDING.value for key in there)):
                return
            base = _selector_base(now, {key["selector"] for key in there})
            times = {"state": state.value, "created_at": now} | ({} if there else {"activated_at": now})
            documents = [_document(domain, base, algorithm, key) | times for algorithm, key in made.items()]
            await self._keys.insert_many(documents, session=session)

        await transact(self._db, work)

    async def _lock(self, domain: str, session: Session) -> None:
        """Refused NOT_FOUND if there is no such domain."""
        if not await self._db[DOMAINS].update_one({"_id": domain}, {"$inc": {"dkim_changes": 1}}, session=session):
            raise Refused(RefusedCode.NOT_FOUND, "No such domain")


def _selector_base(now: int, taken: set[str]) -> str:
    """The day and a letter, such as 20261126a: of one length, so that no key changes how long a signed message is."""
    day = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%d")
    bases = {selector.rpartition("-")[0] for selector in taken}
    free = next((day + letter for letter in string.ascii_lowercase if day + letter not in bases), None)
    if free is None:
        raise Refused(RefusedCode.CONFLICT, "The domain has had 26 pairs of keys today")
    return free


def _document(domain: str, base: str, algorithm: Algorithm, private: dkim_keys.PrivateKey) -> Document:
    selector = f"{base}-{algorithm.key_type}"
    return {
        "_id": f"{selector}._domainkey.{domain}",
        "domain": domain,
        "selector": selector,
        "algorithm": algorithm.value,
        "public": dkim_keys.public_text(private),
        "private": dkim_keys.to_pem(private),
    }


def _key(document: Document) -> DkimKey:
    return DkimKey(
        domain=document["domain"],
        selector=document["selector"],
        algorithm=Algorithm(document["algorithm"]),
        public=document["public"],
        state=KeyState(document["state"]),
        created_at=document["created_at"],
        activated_at=document.get("activated_at"),
        retires_at=document.get("retires_at"),
    )


def _signing_key(document: Document) -> SigningKey:
    private = dkim_keys.from_pem(document["private"])
    return SigningKey(document["domain"], document["selector"], Algorithm(document["algorithm"]), private)
