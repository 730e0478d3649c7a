"""Checking a login: any of an account's addresses and its password.

Order: closed keys → one read of the account and its hash → the cache of verified credentials → argon2. The cache is
keyed by HMAC(a key of this process, account, stored hash, password), so a changed password misses by itself, and holds
an entry for an hour since its last use, with the client addresses it was used from: a known client of a known login
is never asked to wait for someone else's guesses. What several sessions ask at once is hashed once. Unknown logins cost
as much time as wrong passwords.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mailboat_common.log import get_logger
from mailboat_store_client.types import AccountId, AuthResult, AuthStatus

from ..db.driver import Database
from ..outage import database_errors
from . import addresses
from .passwords import MAX_BYTES, PasswordPool, is_ours
from .schema import ADDRESSES, CREDENTIALS
from .throttle import Throttle, client_key, login_key

log = get_logger(__name__)

CACHE_SECONDS = 3600
CACHE_ENTRIES = 100_000
KNOWN_CLIENTS = 16


@dataclass(frozen=True, slots=True)
class _Account:
    account_id: AccountId
    address: str
    disabled: bool
    stored: str
    masked: tuple[str, ...]


@dataclass(slots=True)
class _Verified:
    used_at: int
    clients: dict[str | None, None] = field(default_factory=dict)


class VerifiedCache:
    """Credentials this process has verified. `clock` gives ms since the epoch."""

    def __init__(self, clock: Callable[[], int], limit: int = CACHE_ENTRIES) -> None:
        self._key = os.urandom(32)
        self._clock = clock
        self._limit = limit
        self._entries: OrderedDict[bytes, _Verified] = OrderedDict()

    def digest(self, account_id: bytes, stored: str, password: str) -> bytes:
        """The entry's name; says nothing without this process's key."""
        secret = password.encode("utf-8", "surrogatepass")
        parts = (account_id, stored.encode(), secret)
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, message, hashlib.sha256)

    def get(self, digest: bytes) -> _Verified | None:
        """The entry, if it was used within the hour."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if self._clock() - entry.used_at > CACHE_SECONDS * 1000:
            del self._entries[digest]
            return None
        return entry

    def put(self, digest: bytes, client: str | None) -> None:
        """Marks a credential as verified, or used again, by this client."""
        entry = self._entries.pop(digest, None) or _Verified(0)
        entry.used_at = self._clock()
        entry.clients.pop(client, None)
        entry.clients[client] = None
        if len(entry.clients) > KNOWN_CLIENTS:
            del entry.clients[next(iter(entry.clients))]
        self._entries[digest] = entry
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)


class Authenticator:
    """Directory.authenticate. `clock` gives ms since the epoch."""

    def __init__(self, db: Database, passwords: PasswordPool, clock: Callable[[], int]) -> None:
        self._addresses = db[ADDRESSES]
        self._credentials = db[CREDENTIALS]
        self._passwords = passwords
        self._throttle = Throttle(db, clock)
        self._clock = clock
        self.verified = VerifiedCache(clock)
        self._verifying: dict[bytes, asyncio.Task[bool]] = {}

    async def authenticate(self, login: str, password: str, client: str) -> AuthResult:
        """See `ports.Directory.authenticate`."""
        async with database_errors():
            return await self._authenticate(login, password, client)

    async def _authenticate(self, login: str, password: str, client: str) -> AuthResult:
        from_client, for_login = client_key(client), login_key(login)
        if self._throttle.closed_here(from_client):
            return AuthResult(AuthStatus.THROTTLED)
        account = await self._find(login)
        digest = b""
        if account is not None:
            digest = self.verified.digest(account.account_id, account.stored, password)
            entry = self.verified.get(digest)
            if entry is not None and from_client in entry.clients:
                return self._known(account, digest, from_client)
        if self._throttle.closed_here(for_login):
            return AuthResult(AuthStatus.THROTTLED)
        closed, failures = await self._throttle.closed((from_client, for_login))
        if closed:
            return AuthResult(AuthStatus.THROTTLED)
        cached = account is not None and self.verified.get(digest) is not None
        fits = cached or await self._fits(account, digest, password)
        if not fits or account is None:
            await self._throttle.failed((from_client, for_login))
            return AuthResult(AuthStatus.BAD_CREDENTIALS)
        if failures:
            await self._throttle.succeeded(login)
        if not is_ours(account.stored):
            account = await self._rehash(account, password)
            digest = self.verified.digest(account.account_id, account.stored, password)
        return self._known(account, digest, from_client)

    async def _fits(self, account: _Account | None, digest: bytes, password: str) -> bool:
        if len(password) > MAX_BYTES:
            return False
        if account is None:
            return await self._passwords.verify(None, password)
        running = self._verifying.get(digest)
        if running is None:
            running = asyncio.create_task(self._passwords.verify(account.stored, password))
            self._verifying[digest] = running
            running.add_done_callback(lambda task: self._verified_once(digest, task))
        return await asyncio.shield(running)  # it is everybody's

    def _verified_once(self, digest: bytes, task: asyncio.Task[bool]) -> None:
        del self._verifying[digest]
        if not task.cancelled():
            task.exception()  # raised in those who wait; the loop must not complain where they are gone

    def _known(self, account: _Account, digest: bytes, client: str | None) -> AuthResult:
        self.verified.put(digest, client)
        if account.disabled:
            return AuthResult(AuthStatus.DISABLED)
        return AuthResult(AuthStatus.OK, account.account_id, account.address, account.masked)

    async def _find(self, login: str) -> _Account | None:
        """The account and its hash in one round trip."""
        address = addresses.parse(login)
        if address is None:
            return None
        found = await self._addresses.aggregate(
            [
                {"$match": {"_id": address.full}},
                {"$lookup": {"from": "accounts", "localField": "a", "foreignField": "_id", "as": "account"}},
                {"$lookup": {"from": CREDENTIALS, "localField": "a", "foreignField": "_id", "as": "credential"}},
                {
                    "$project": {
                        "a": 1,
                        "account.address": 1,
                        "account.disabled": 1,
                        "account.deleted_at": 1,
                        "account.imap_masked_capabilities": 1,
                        "credential.hash": 1,
                    }
                },
            ]
        )
        if not found or not found[0]["account"] or not found[0]["credential"]:
            return None
        account = found[0]["account"][0]
        if account.get("deleted_at") is not None:
            return None
        return _Account(
            AccountId(bytes(found[0]["a"])),
            account["address"],
            bool(account.get("disabled")),
            found[0]["credential"][0]["hash"],
            tuple(account.get("imap_masked_capabilities", ())),
        )

    async def _rehash(self, account: _Account, password: str) -> _Account:
        """Replaces an imported hash by ours, unless the password was changed meanwhile."""
        stored = await self._passwords.hash(password)
        replaced = await self._credentials.update_one(
            {"_id": account.account_id, "hash": account.stored},
            {"$set": {"hash": stored, "updated_at": self._clock()}},
        )
        if not replaced:
            return account
        log.info("imported password hash replaced", account_id=account.account_id.hex())
        return replace(account, stored=stored)
