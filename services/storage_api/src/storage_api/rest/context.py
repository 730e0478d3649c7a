"""What the routes work with, who calls (bearer tokens and their scopes), and whose account a request is about."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Request
from mailboat_common.asgi import Scope
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import uuid7
from mailboat_store_client.ports import Delivery, Directory, MailboxRead, MailboxWrite
from mailboat_store_client.types import AccountId
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException

from ..audit_log import AuditLog
from ..directory.accounts import Accounts
from ..directory.aliases import Aliases
from ..directory.domains import Domains
from ..directory.suppressions import Suppressions
from ..domain_dns.service import DomainDns
from ..feed.webhooks import Webhooks
from ..queue.operators import QueueOperators
from ..queue.transports import Transports
from ..restored.restores import Restores
from ..tokens import Token, Tokens
from ..trace import TraceLog
from .access import TABLE, domain_of, lacking, permits
from .keys import Keys
from .sse import Streams

OWN = "/v1/me"
MUTATION_KEY = "mailboat.mutation_key"
CALLER = "mailboat.caller"


class _Encoded(Convertor[str]):
    """A segment of a path in which "/" and "%" were left encoded (see `gate`)."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("encoded", _Encoded())


@dataclass(frozen=True, slots=True)
class Context:
    """The services behind the routes. `audit(deep)` yields findings as JSON objects, the summary last; `full`: is what
    grows to be refused.
    """

    domains: Domains
    domain_dns: DomainDns
    accounts: Accounts
    aliases: Aliases
    tokens: Tokens
    keys: Keys
    queue: QueueOperators
    transports: Transports
    suppressions: Suppressions
    trace: TraceLog
    audit_log: AuditLog
    webhooks: Webhooks
    streams: Streams
    restores: Restores
    mailboxes: MailboxRead
    write: MailboxWrite
    delivery: Delivery
    directory: Directory
    hostname: str
    full: Callable[[], bool]
    audit: Callable[[bool], AsyncIterator[dict[str, Any]]]


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def authorize(request: Request) -> Token:
    """The caller (whom the gate knows), who may call this operation by the table in `access`. Refused NOT_PERMITTED."""
    token: Token = request.scope[CALLER]
    access = TABLE[request.scope["endpoint"].__name__]
    ways = access.own if is_own(request) else access.ways
    domain = domain_of(request.scope["route"].path, request.path_params)
    if not permits(ways, token, domain):
        raise not_permitted(lacking(ways, token, domain))
    return token


Caller = Annotated[Token, Depends(authorize)]


def bearer(scope: Scope) -> str:
    """The text of a request's bearer token; "" if there is none."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    kind, _, text = given.decode("latin-1").partition(" ")
    return str(text.strip()) if kind.lower() == "bearer" else ""


def is_own(request: Request) -> bool:
    """Whether the request is under `/v1/me`."""
    path = request.url.path
    return path == OWN or path.startswith(OWN + "/")


@dataclass(frozen=True, slots=True)
class Target:
    """The account that a request is about. `own`: it is the caller's own, and nothing of it is audited."""

    account_id: AccountId
    address: str
    own: bool


async def _target(request: Request, ctx: Annotated[Context, Depends(_context)], caller: Caller) -> Target:
    if is_own(request):
        return await own_account(ctx, caller)
    account = await ctx.accounts.get(request.path_params["address"])
    return Target(account.account_id, account.address, False)


async def own_account(ctx: Context, caller: Token) -> Target:
    """The account that the token belongs to. Refused NOT_PERMITTED if it is nobody's or the account is disabled; 401 if
    the account is gone.
    """
    if caller.account_id is None:
        raise not_permitted("self, of an account")
    try:
        account = await ctx.accounts.by_id(caller.account_id)
    except Refused:
        raise HTTPException(401, "The token's account is gone", {"www-authenticate": "Bearer"}) from None
    if account.disabled:
        raise Refused(RefusedCode.NOT_PERMITTED, "The account is disabled")
    return Target(account.account_id, account.address, True)


async def still_admitted(request: Request, ctx: Context) -> bool:
    """Whether a request that goes on for long would be let in now: its token stands and may what it might, and the
    account that it is about, if it is its own, is there and not disabled.
    """
    token = await ctx.tokens.identify(bearer(request.scope))
    if token is None or token.scopes != request.scope[CALLER].scopes:
        return False
    try:
        if is_own(request):
            await own_account(ctx, token)
    except (Refused, HTTPException):
        return False
    return True


def _mutation_key(request: Request) -> bytes:
    """The store's key for what this request changes: the same for a repeat with the same Idempotency-Key."""
    key: bytes = request.scope.get(MUTATION_KEY) or uuid7()
    return key


def further_key(key: bytes) -> bytes:
    """The key of a request's next mutation, when it has several."""
    return hashlib.sha256(key).digest()[:16]


def _growing(ctx: Annotated[Context, Depends(_context)]) -> None:
    """Refused STORAGE_FULL while the database is short of disk."""
    if ctx.full():
        raise Refused(RefusedCode.STORAGE_FULL, "The mail system is short of disk space")


def not_permitted(scope: str) -> Refused:
    """The caller is known but lacks a scope."""
    return Refused(RefusedCode.NOT_PERMITTED, f"The token lacks the scope {scope}")


Ctx = Annotated[Context, Depends(_context)]
Account = Annotated[Target, Depends(_target)]
MutationKey = Annotated[bytes, Depends(_mutation_key)]
Growing = Depends(_growing)
