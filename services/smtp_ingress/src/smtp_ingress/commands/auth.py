"""AUTH PLAIN and LOGIN (RFC 4954, RFC 4616).

Offered on the submission ports only, and after TLS unless the settings allow it in clear text. Every attempt makes one
log line. A wrong password is answered late, and the third one ends the session.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from mailboat_common import metrics
from mailboat_common.errors import Failure
from mailboat_common.log import get_logger, login_shown
from mailboat_store_client.types import AuthStatus
from mailboat_wire import sasl

from .. import reply as replies
from ..reply import Next, Reply

if TYPE_CHECKING:
    from ..session import Session

log = get_logger(__name__)

FAILURE_SECONDS = 1.0
MAX_FAILURES = 3
_NOT_HERE = replies.reply(503, "5.5.1", "AUTH isn't offered here")
_TLS_FIRST = replies.reply(538, "5.7.11", "Encryption required for authentication")
_DONE_ALREADY = replies.reply(503, "5.5.1", "Already authenticated")
_IN_TRANSACTION = replies.reply(503, "5.5.1", "No AUTH within a transaction")
_MECHANISM = replies.reply(504, "5.5.4", "Unrecognised authentication mechanism")
_OK = replies.reply(235, "2.7.0", "Authentication succeeded")
_FAILED = replies.reply(535, "5.7.8", "Authentication credentials invalid")
_DISABLED = replies.reply(535, "5.7.8", "Account is disabled")
_THROTTLED = replies.reply(454, "4.7.0", "Too many failures, try again later")
_LATER = replies.reply(454, "4.7.0", "Temporary authentication failure")
_GOODBYE = replies.reply(421, "4.7.0", "Too many authentication failures, closing", Next.CLOSE)
_CANCELLED = replies.reply(501, "5.7.0", "Authentication cancelled")
_MALFORMED = replies.reply(501, "5.5.2", "Cannot decode the response")
_AS_ANOTHER = replies.reply(535, "5.7.8", "Acting for another user is not allowed")


def keyword(session: Session) -> str | None:
    """AUTH once it may be used."""
    return "AUTH PLAIN LOGIN" if _usable(session) else None


def _usable(session: Session) -> bool:
    return session.submission and (bool(session.tls) or not session.service.settings.auth_require_tls)


async def run(session: Session, argument: bytes) -> Reply:
    """Begin an exchange; RFC 4954 4: once per session, not within a transaction."""
    if not session.submission:
        return _NOT_HERE
    if not _usable(session):
        return _TLS_FIRST
    if not session.esmtp:
        return replies.NEED_HELO
    if session.account_id is not None:
        return _DONE_ALREADY
    if session.transaction is not None:
        return _IN_TRANSACTION
    mechanism, _, initial = argument.partition(b" ")
    session.dialog = sasl.start(mechanism)
    if session.dialog is None:
        return _MECHANISM
    session.mechanism = mechanism.decode("ascii", "replace").upper()
    first = initial.strip()
    return await _step(session, None if not first else b"" if first == b"=" else first)


async def continue_dialog(session: Session, line: bytes) -> Reply:
    """The client's next response."""
    return await _step(session, line)


async def _step(session: Session, response: bytes | None) -> Reply:
    assert session.dialog is not None
    try:
        step = session.dialog.step(response)
    except sasl.SaslError as error:
        session.dialog = None
        return session.erred(_CANCELLED if error.fault is sasl.SaslFault.CANCELLED else _MALFORMED)
    if isinstance(step, sasl.Challenge):
        return Reply(b"334 " + step.encoded() + b"\r\n", Next.DIALOG)
    session.dialog = None
    return await _check(session, step)


async def _check(session: Session, credentials: sasl.Credentials) -> Reply:
    if credentials.authorization not in ("", credentials.username):
        return await _fail(session, credentials.username, "authorization", _AS_ANOTHER)
    start = time.perf_counter()
    try:
        result = await session.service.store.directory.authenticate(
            credentials.username, credentials.password, protocol="smtp", client=session.client
        )
    except Failure as error:
        _record(session, credentials.username, "unavailable", str(error))
        return _LATER
    finally:
        metrics.auth_duration.observe(time.perf_counter() - start)
    if result.status is AuthStatus.OK:
        session.account_id, session.login = result.account_id, result.login
        _record(session, credentials.username, "ok")
        return _OK
    if result.status is AuthStatus.THROTTLED:
        _record(session, credentials.username, "throttled")
        return _THROTTLED
    disabled = result.status is AuthStatus.DISABLED
    return await _fail(session, credentials.username, result.status.value, _DISABLED if disabled else _FAILED)


async def _fail(session: Session, login: str, reason: str, answer: Reply) -> Reply:
    session.auth_failures += 1
    _record(session, login, "failed", reason)
    await asyncio.sleep(FAILURE_SECONDS)
    return _GOODBYE if session.auth_failures >= MAX_FAILURES else answer


def _record(session: Session, login: str, result: str, reason: str = "") -> None:
    metrics.auth_attempts.labels("smtp", session.mechanism, result).inc()
    log.info(
        "authentication",
        result=result,
        reason=reason,
        protocol="smtp",
        mechanism=session.mechanism,
        login=login_shown(login, known=result == "ok"),
        client=session.client,
        port=session.peer.port,
        tls=session.tls.partition(" ")[0],
    )
