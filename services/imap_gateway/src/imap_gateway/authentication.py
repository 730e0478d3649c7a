"""Logging in, the same for LOGIN and AUTHENTICATE: one question to the directory, one log line, one delay per failure.

RFC 9051 6.2.2, 6.2.3; response codes of RFC 5530. All failures look the same to the client but a throttled one.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mailboat_common import metrics as common_metrics
from mailboat_common.errors import Failure
from mailboat_common.log import get_logger, login_shown
from mailboat_store_client.types import AuthResult, AuthStatus

from .capabilities import greeting_code, may_authenticate
from .replies import Reply, no, ok

if TYPE_CHECKING:
    from .session import Session

log = get_logger(__name__)

FAILED = Reply(b"NO", b"Wrong login or password", b"AUTHENTICATIONFAILED")
THROTTLED = Reply(b"NO", b"Too many failed logins, try again later", b"LIMIT")
TOO_MANY = Reply(b"NO", b"Too many sessions of this account", b"LIMIT")
MAX_CREDENTIAL = 1024


def require_protection(session: Session) -> None:
    """Refuse a password in clear text, before it is asked for."""
    if not may_authenticate(session):
        raise no(b"Use TLS before you log in", b"PRIVACYREQUIRED")


async def log_in(session: Session, mechanism: str, user: str, secret: str) -> Reply:
    """The reply to credentials; the session is authenticated if it is OK."""
    policy = session.gateway.policy
    started = time.perf_counter()
    try:
        result = await _ask(session, user, secret)
    except Failure:
        _record(session, mechanism, user, "unavailable", "storage", started=started)
        raise
    if result.status is AuthStatus.OK and result.account_id is not None:
        if not session.gateway.accounts.acquire(result.account_id):
            _record(session, mechanism, user, "refused", "sessions-per-account", started=started)
            return TOO_MANY
        session.authenticated(result.account_id, result.login, result.imap_masked_capabilities)
        _record(session, mechanism, user, "ok", "", started=started)
        return ok(b"Logged in", b"CAPABILITY " + greeting_code(session))
    throttled = result.status is AuthStatus.THROTTLED
    _record(session, mechanism, user, "throttled" if throttled else "failed", result.status.value, started=started)
    session.auth_failures += 1
    await asyncio.sleep(policy.auth_failure_seconds)
    if session.auth_failures >= policy.auth_failures:
        session.link.end(b"Too many failed logins")
    return THROTTLED if throttled else FAILED


async def _ask(session: Session, user: str, secret: str) -> AuthResult:
    if not user or len(user) > MAX_CREDENTIAL or len(secret) > MAX_CREDENTIAL:
        return AuthResult(AuthStatus.BAD_CREDENTIALS)
    directory = session.gateway.store.directory
    return await directory.authenticate(user, secret, protocol="imap", client=session.link.client[0])


def _record(session: Session, mechanism: str, user: str, result: str, reason: str, *, started: float) -> None:
    """One line per authentication, and its metrics."""
    address, port = session.link.client
    common_metrics.auth_attempts.labels("imap", mechanism, result).inc()
    common_metrics.auth_duration.observe(time.perf_counter() - started)
    log.info(
        "authentication",
        result=result,
        reason=reason,
        protocol="imap",
        mechanism=mechanism,
        login=login_shown(user, known=result == "ok"),
        client=address,
        port=port,
        tls=session.link.tls_version,
    )
