"""What operators do with accounts. An account, its address, credential and mailboxes come and go in one transaction.

`put` is the import's step: it makes an account what a row says and does nothing when it is so already. A plain
password is checked against the stored hash, not hashed again; an imported hash is known by its SHA-256 even after a
login replaced it.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7
from mailboat_store_client.capabilities import canonical_mask
from mailboat_store_client.types import NO_MAILBOX, AccountId, MailboxChanged, MailboxId

from ..db.driver import Database, Document, DuplicateKeyError, Session
from ..outage import database_errors, transact
from ..store import outbox, retention
from ..store.accounts import default_mailboxes, new_account_document
from ..store.outbox import Kind
from . import addresses
from .authenticate import VerifiedCache
from .passwords import PasswordPool, check_imported, check_policy
from .schema import ADDRESSES, CREDENTIALS, DOMAINS, TOKENS


@dataclass(frozen=True, slots=True)
class Account:
    """One account as operators see it. Sizes in octets, a quota of 0 is none, `created_at` in ms.

    `pop3_retention_days`: None as the domain says, retention.NEVER.
    """

    account_id: AccountId
    address: str
    quota_bytes: int
    quota_messages: int
    used_bytes: int
    messages: int
    disabled: bool
    created_at: int
    imap_masked_capabilities: tuple[str, ...] = ()
    pop3_retention_days: int | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """A password, or a hash from elsewhere; exactly one is set."""

    password: str | None = None
    password_hash: str | None = None


class PutResult(enum.Enum):
    """What `put` did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class Accounts:
    """`clock` gives ms since the epoch; `changed` is called after each change, `publish` with deletions and with
    accounts that were disabled. `with_events`: changes are told to other systems (store/outbox.py)."""

    def __init__(
        self,
        db: Database,
        passwords: PasswordPool,
        verified: VerifiedCache,
        clock: Callable[[], int],
        *,
        changed: Callable[[], None],
        publish: Callable[[Iterable[MailboxChanged]], None],
        with_events: bool = True,
    ) -> None:
        self._with_events = with_events
        self._db = db
        self._accounts = db["accounts"]
        self._addresses = db[ADDRESSES]
        self._credentials = db[CREDENTIALS]
        self._domains = db[DOMAINS]
        self._passwords = passwords
        self._verified = verified
        self._clock = clock
        self._changed = changed
        self._publish = publish
        self._creating = asyncio.Lock()  # all write their domain's document: in turn is faster than in conflict

    async def create(self, address: str, secret: Secret, quota_bytes: int = 0, *, quota_messages: int = 0) -> Account:
        """A new account with the default mailboxes. Refused INVALID, NOT_FOUND (domain), ALREADY_EXISTS."""
        parsed = addresses.require(address)
        stored, source = await self._stored(secret)
        now = self._clock()
        account_id = AccountId(uuid7())
        mailboxes = default_mailboxes(account_id, now)
        account = new_account_document(account_id, mailboxes, quota_bytes=quota_bytes, quota_messages=quota_messages)
        account |= {"address": parsed.full, "domain": parsed.domain, "created_at": now}
        credential = {"_id": account_id, "a": account_id, "hash": stored, "updated_at": now}
        if source is not None:
            credential["source"] = source

        async def work(session: Session) -> None:
            domain = await self._domains.find_one({"_id": parsed.domain}, session=session)
            if domain is None:
                raise Refused(RefusedCode.NOT_FOUND, "The address's domain doesn't exist")
            await self._addresses.insert_one(
                {"_id": parsed.full, "a": account_id, "domain": parsed.domain}, session=session
            )
            await self._accounts.insert_one(account, session=session)
            await self._credentials.insert_one(credential, session=session)
            await self._db["mailboxes"].insert_many(mailboxes, session=session)
            await self._emit(session, account_id, Kind.ACCOUNT_CREATED, _quotas(account))
            # Written in any case, so that a removal of the domain at the same moment conflicts.
            admin = domain.get("admin") or parsed.full
            await self._domains.update_one(
                {"_id": parsed.domain}, {"$set": {"admin": admin}, "$inc": {"accounts": 1}}, session=session
            )

        try:
            async with self._creating:
                await transact(self._db, work)
        except DuplicateKeyError:
            raise Refused(RefusedCode.ALREADY_EXISTS, "The address is taken") from None
        self._changed()
        return _account(account)

    async def get(self, address: str) -> Account:
        """One account. Refused NOT_FOUND."""
        return _account(await self._find(address))

    async def by_id(self, account_id: AccountId) -> Account:
        """The account whose token calls. Refused NOT_FOUND if it is gone."""
        async with database_errors():
            document = await self._accounts.find_one({"_id": account_id})
        if document is None or document.get("deleted_at") is not None:
            raise Refused(RefusedCode.NOT_FOUND, "No such account")
        return _account(document)

    async def page(self, domain: str | None, after: str, limit: int) -> list[Account]:
        """Up to `limit` accounts (of one domain) behind the cursor `after`, which is `cursor(account)`."""
        after_domain, _, after_local = after.partition("@")
        behind: Document = {"domain": {"$gt": after_domain}}
        if domain is not None:
            name = addresses.normalise_domain(domain) or ""
            behind = {"domain": name, "address": {"$gt": f"{after_local}@{name}" if after else ""}}
        elif after:
            last = f"{after_local}@{after_domain}"
            behind = {"$or": [behind, {"domain": after_domain, "address": {"$gt": last}}]}
        query = {**behind, "deleted_at": {"$exists": False}, "address": behind.get("address", {"$exists": True})}
        async with database_errors():
            found = await self._accounts.find(query, sort=[("domain", 1), ("address", 1)], limit=limit)
        return [_account(document) for document in found]

    async def update(
        self,
        address: str,
        *,
        secret: Secret | None = None,
        quota_bytes: int | None = None,
        quota_messages: int | None = None,
        disabled: bool | None = None,
        imap_masked_capabilities: Iterable[str] | None = None,
    ) -> Account:
        """Changes what is given. Refused NOT_FOUND, INVALID."""
        document = await self._find(address)
        masked = None if imap_masked_capabilities is None else canonical_mask(imap_masked_capabilities)
        stored = await self._stored(secret) if secret is not None else None
        given: Document = {"quota_bytes": quota_bytes, "quota_messages": quota_messages, "disabled": disabled}
        given["imap_masked_capabilities"] = masked
        fields: Document = {name: value for name, value in given.items() if value is not None}
        account_id = AccountId(bytes(document["_id"]))

        async def work(session: Session) -> Document:
            if stored is not None:
                await self._set_secret(account_id, *stored, session)
            return await self._set_fields(document, fields, session) if fields else document

        document = await transact(self._db, work)
        self._changed()
        if disabled:
            self._publish([_closed(AccountId(bytes(document["_id"])), self._clock())])
        return _account(document)

    async def _set_fields(self, document: Document, fields: Document, session: Session) -> Document:
        account_id = AccountId(bytes(document["_id"]))
        before = await self._accounts.find_one_and_update(
            {"_id": account_id, "deleted_at": {"$exists": False}}, {"$set": fields}, session=session, after=False
        )
        if before is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such account")
        now = {**before, **fields}
        if bool(now.get("disabled")) != bool(before.get("disabled")):
            kind = Kind.ACCOUNT_DISABLED if now["disabled"] else Kind.ACCOUNT_ENABLED
            await self._emit(session, account_id, kind, {})
        if _quotas(now) != _quotas(before):
            await self._emit(session, account_id, Kind.QUOTA_CHANGED, _quotas(now))
        return now

    async def _emit(self, session: Session, account_id: AccountId, kind: Kind, data: Document) -> None:
        if self._with_events:
            await outbox.emit(self._db, session, account_id, kind, data, now=self._clock())

    async def set_pop3_retention(self, address: str, days: int | None) -> Account:
        """After how many days what POP3 retrieved is removed; retention.NEVER, None as the domain says.

        Refused NOT_FOUND.
        """
        document = await self._find(address)
        change: Document = {"$unset": {retention.FIELD: ""}} if days is None else {"$set": {retention.FIELD: days}}
        async with database_errors():
            query = {"_id": document["_id"], "deleted_at": {"$exists": False}}
            updated = await self._accounts.find_one_and_update(query, change)
        if updated is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such account")
        return _account(updated)

    async def put(
        self, address: str, secret: Secret, quota_bytes: int | None, quota_messages: int | None = None
    ) -> PutResult:
        """Makes an account be so. Refused INVALID, NOT_FOUND (domain)."""
        try:
            document = await self._find(address)
        except Refused as refused:
            if refused.code is not RefusedCode.NOT_FOUND:
                raise
            await self.create(address, secret, quota_bytes or 0, quota_messages=quota_messages or 0)
            return PutResult.CREATED
        same_secret = await self._has_secret(document["_id"], secret)
        quotas = {"quota_bytes": quota_bytes, "quota_messages": quota_messages}
        same_quota = all(value in (None, document.get(name, 0)) for name, value in quotas.items())
        if same_secret and same_quota:
            return PutResult.UNCHANGED
        changed = None if same_secret else secret
        await self.update(address, secret=changed, quota_bytes=quota_bytes, quota_messages=quota_messages)
        return PutResult.UPDATED

    async def remove(self, address: str) -> None:
        """Deletes an account; its name is free at once, its mail goes with the next collections. Refused NOT_FOUND."""
        document = await self._find(address)
        account_id, full, domain = AccountId(bytes(document["_id"])), document["address"], document["domain"]
        now = self._clock()

        async def work(session: Session) -> list[MailboxChanged]:
            await self._addresses.delete_many({"a": account_id}, session=session)
            await self._addresses.update_many({"members": full}, {"$pull": {"members": full}}, session=session)
            catch_all = {"_id": domain, "catch_all": full}
            await self._domains.update_one(catch_all, {"$unset": {"catch_all": ""}}, session=session)
            await self._credentials.delete_one({"_id": account_id}, session=session)
            await self._db[TOKENS].delete_many({"a": account_id}, session=session)
            changes = {"$set": {"deleted_at": now, "removals_at": now}, "$inc": {"tree_version": 1}}
            await self._accounts.update_one({"_id": account_id}, changes, session=session)
            await self._emit(session, account_id, Kind.ACCOUNT_DELETED, {})
            mailboxes = self._db["mailboxes"]
            query = {"a": account_id, "name": {"$exists": True}}
            found = await mailboxes.find(query, ["highest_modseq"], session=session)
            await mailboxes.update_many(query, _deleted(now), session=session)
            await self._hand_over(full, domain, session)
            return [
                MailboxChanged(account_id, MailboxId(bytes(one["_id"])), one["highest_modseq"], now, True)
                for one in found
            ] + [_closed(account_id, now)]

        async with database_errors():
            self._publish(await transact(self._db, work))
        self._changed()

    async def _hand_over(self, leaving: str, domain: str, session: Session) -> None:
        """Gives postmaster@ and abuse@ to the oldest account left."""
        query = {"domain": domain, "address": {"$exists": True}, "deleted_at": {"$exists": False}}
        oldest = await self._accounts.find(query, ["address"], sort=[("created_at", 1)], limit=1, session=session)
        heir: Document = {"$set": {"admin": oldest[0]["address"]}} if oldest else {"$unset": {"admin": ""}}
        await self._domains.update_one({"_id": domain, "admin": leaving}, heir, session=session)
        await self._domains.update_one({"_id": domain}, {"$inc": {"accounts": -1}}, session=session)

    async def _find(self, address: str) -> Document:
        parsed = addresses.parse(address)
        async with database_errors():
            entry = await self._addresses.find_one({"_id": parsed.full}) if parsed else None
            own = entry is not None and "kind" not in entry  # an alias, maybe of another domain, names no account here
            document = await self._accounts.find_one({"_id": entry["a"]}) if entry and own else None
        if document is None or document.get("deleted_at") is not None:
            raise Refused(RefusedCode.NOT_FOUND, "No such account")
        return document

    async def _stored(self, secret: Secret) -> tuple[str, bytes | None]:
        """(stored hash, SHA-256 of the imported one or None). Refused INVALID."""
        if secret.password is not None:
            check_policy(secret.password)
            return await self._passwords.hash(secret.password), None
        if secret.password_hash is None:
            raise Refused(RefusedCode.INVALID, "A password or a password hash is needed")
        stored = check_imported(secret.password_hash)
        return stored, _source(stored)

    async def _set_secret(self, account_id: AccountId, stored: str, source: bytes | None, session: Session) -> None:
        fields: Document = {"$set": {"hash": stored, "updated_at": self._clock()}}
        if source is None:
            fields["$unset"] = {"source": ""}
        else:
            fields["$set"]["source"] = source
        await self._credentials.update_one({"_id": account_id}, fields, session=session)
        await self._emit(session, account_id, Kind.PASSWORD_CHANGED, {})

    async def _has_secret(self, account_id: bytes, secret: Secret) -> bool:
        async with database_errors():
            credential = await self._credentials.find_one({"_id": account_id})
        if credential is None:
            return False
        if secret.password is None:
            stored = check_imported(secret.password_hash or "")
            return stored == credential["hash"] or _source(stored) == credential.get("source")
        digest = self._verified.digest(account_id, credential["hash"], secret.password)
        if self._verified.get(digest) is not None:
            return True
        fits = await self._passwords.verify(credential["hash"], secret.password)
        if fits:
            self._verified.put(digest, None)
        return fits


def _closed(account_id: AccountId, now: int) -> MailboxChanged:
    return MailboxChanged(account_id, NO_MAILBOX, 0, now, account_closed=True)


def cursor(account: Account) -> str:
    """Where a page that ends with this account goes on."""
    local, _, domain = account.address.rpartition("@")
    return f"{domain}@{local}"


def _source(stored: str) -> bytes:
    return hashlib.sha256(stored.encode()).digest()


def _account(document: Document) -> Account:
    return Account(
        AccountId(bytes(document["_id"])),
        document["address"],
        document.get("quota_bytes", 0),
        document.get("quota_messages", 0),
        document["usage"]["bytes"],
        document["usage"]["messages"],
        bool(document.get("disabled")),
        document["created_at"],
        tuple(document.get("imap_masked_capabilities", ())),
        document.get(retention.FIELD),
    )


def _quotas(document: Document) -> Document:
    """What a change of quota is about, in octets and messages; 0 is none."""
    return {name: document.get(name, 0) for name in ("quota_bytes", "quota_messages")}


def _deleted(now: int) -> list[Document]:
    """What the store's own deletion of a mailbox does to its document."""
    return [{"$set": {"deleted_at": now, "old_name": "$name"}}, {"$unset": "name"}]
