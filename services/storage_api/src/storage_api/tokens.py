"""REST tokens: who may call the API, and with which scopes.

A token is 256 random bits shown once; at rest there is its SHA-256 (a guess at 256 bits needs no slow hash). Scopes:
`platform` (everything about domains, accounts, tokens, traces), `domain:<name>` (the accounts of one domain),
`queue`, and on top of one of the first two `read-mail` (to read messages) and `submit` (to send as any account).
`self` is all of one account's own; a token with it, or one whose `submit` is to be good for one account only, belongs
to that account and ends with it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import trace_id
from mailboat_store_client.types import AccountId

from .db.driver import Database, Document
from .directory.addresses import normalise_domain
from .directory.schema import TOKENS
from .outage import database_errors

PREFIX = "mbt_"
PLATFORM = "platform"
DOMAIN = "domain:"
QUEUE = "queue"
READ_MAIL = "read-mail"
SELF = "self"
SUBMIT = "submit"
SCOPES = frozenset({PLATFORM, READ_MAIL, QUEUE, SUBMIT, SELF})
OF_AN_ACCOUNT = frozenset({SELF, SUBMIT})
BOOTSTRAP_ID = "bootstrap"
MIN_BOOTSTRAP = 16
FRESH_MS = 5000

_DOMAIN_SCOPE = re.compile(r"domain:(.+)")


@dataclass(frozen=True, slots=True)
class Token:
    """Who calls. `created_at` in ms; `account_id` and `account` (its address then) of a token of an account."""

    token_id: str
    name: str
    scopes: frozenset[str]
    created_at: int
    account_id: AccountId | None = None
    account: str = ""

    @property
    def platform(self) -> bool:
        """May do everything but read mail."""
        return PLATFORM in self.scopes

    def may_manage(self, domain: str) -> bool:
        """Whether this domain's accounts are the caller's business."""
        return self.platform or f"domain:{domain}" in self.scopes


class Tokens:
    """`clock` gives ms since the epoch."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._tokens = db[TOKENS]
        self._clock = clock
        self._known: dict[bytes, tuple[int, Token]] = {}

    async def create(
        self, name: str, scopes: Sequence[str], account: tuple[AccountId, str] | None = None
    ) -> tuple[Token, str]:
        """A new token (of an account: id and address) and its text, which is never seen again.

        Refused INVALID for an unknown scope, for `self` without an account, and for an account with other scopes than
        `self` and `submit`.
        """
        text = PREFIX + secrets.token_urlsafe(32)
        known = frozenset(map(_scope, scopes))
        if account is None and SELF in known:
            raise Refused(RefusedCode.INVALID, "A token with the scope self belongs to an account")
        if account is not None and not known <= OF_AN_ACCOUNT:
            raise Refused(RefusedCode.INVALID, "A token of an account has the scopes self and submit only")
        token = Token(trace_id(), name, known, self._clock(), *(account or ()))
        async with database_errors():
            await self._tokens.insert_one(_document(token, text))
        return token, text

    async def page(self, after: str, limit: int) -> list[Token]:
        """Up to `limit` tokens by id, behind `after`."""
        async with database_errors():
            found = await self._tokens.find({"_id": {"$gt": after}}, sort=[("_id", 1)], limit=limit)
        return [_token(document) for document in found]

    async def revoke(self, token_id: str) -> Token:
        """Ends a token; other replicas believe it for up to five seconds more. Refused NOT_FOUND."""
        async with database_errors():
            document = await self._tokens.find_one_and_delete({"_id": token_id})
        if document is None:
            raise Refused(RefusedCode.NOT_FOUND, "No such token")
        self._known.clear()
        return _token(document)

    async def identify(self, text: str) -> Token | None:
        """The token with this text; None if there is none."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        now = self._clock()
        if known is not None and now - known[0] < FRESH_MS:
            return known[1]
        async with database_errors():
            document = await self._tokens.find_one({"hash": digest})
        if document is None:
            self._known.pop(digest, None)
            return None
        if len(self._known) > 10_000:
            self._known.clear()
        token = _token(document)
        self._known[digest] = now, token
        return token

    async def bootstrap(self, text: str) -> None:
        """Makes the first token be this one, with every scope. May be repeated; a changed text replaces the old one."""
        if len(text) < MIN_BOOTSTRAP:
            raise ValueError(f"the bootstrap token is shorter than {MIN_BOOTSTRAP} characters")
        token = Token(BOOTSTRAP_ID, "bootstrap", SCOPES, self._clock())
        document = _document(token, text)
        created = document.pop("created_at")
        async with database_errors():
            await self._tokens.update_one(
                {"_id": BOOTSTRAP_ID}, {"$set": document, "$setOnInsert": {"created_at": created}}, upsert=True
            )


def _scope(text: str) -> str:
    if text in SCOPES:
        return text
    match = _DOMAIN_SCOPE.fullmatch(text)
    domain = normalise_domain(match[1]) if match else None
    if domain is None:
        raise Refused(RefusedCode.INVALID, "Unknown scope")
    return f"domain:{domain}"


def _document(token: Token, text: str) -> Document:
    document: Document = {
        "_id": token.token_id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "hash": hashlib.sha256(text.encode()).digest(),
        "created_at": token.created_at,
    }
    if token.account_id is not None:
        document |= {"a": token.account_id, "account": token.account}
    return document


def _token(document: Document) -> Token:
    account_id = AccountId(bytes(document["a"])) if "a" in document else None
    return Token(
        document["_id"],
        document["name"],
        frozenset(document["scopes"]),
        document["created_at"],
        account_id,
        document.get("account", ""),
    )
