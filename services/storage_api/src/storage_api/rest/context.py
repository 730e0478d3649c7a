"""What the routes work with, and who calls: bearer tokens and their scopes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.ports import MailboxRead
from starlette.exceptions import HTTPException

from ..audit_log import AuditLog
from ..directory.accounts import Accounts
from ..directory.domains import Domains
from ..tokens import Token, Tokens
from ..trace import TraceLog

_bearer = HTTPBearer(auto_error=False, description="A token made with POST /v1/tokens")


@dataclass(frozen=True, slots=True)
class Context:
    """The services behind the routes. `audit(deep)` yields findings as JSON objects, the summary last."""

    domains: Domains
    accounts: Accounts
    tokens: Tokens
    trace: TraceLog
    audit_log: AuditLog
    mailboxes: MailboxRead
    audit: Callable[[bool], AsyncIterator[dict[str, Any]]]


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Token:
    token = await _context(request).tokens.identify(credentials.credentials) if credentials else None
    if token is None:
        raise HTTPException(401, "A valid bearer token is needed", {"www-authenticate": "Bearer"})
    return token


async def _platform(token: Annotated[Token, Depends(_caller)]) -> Token:
    if not token.platform:
        raise not_permitted("platform")
    return token


def not_permitted(scope: str) -> Refused:
    """The caller is known but lacks a scope."""
    return Refused(RefusedCode.NOT_PERMITTED, f"The token lacks the scope {scope}")


Ctx = Annotated[Context, Depends(_context)]
Caller = Annotated[Token, Depends(_caller)]
Platform = Annotated[Token, Depends(_platform)]
