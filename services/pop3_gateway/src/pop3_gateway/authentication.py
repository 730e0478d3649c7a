"""Logging in, whatever the command: USER and PASS (RFC 1939 7) or AUTH (RFC 5034).

Response codes are those of RFC 3206 and RFC 2449 8. A good password takes the maildrop's exclusive lease.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from typing import TYPE_CHECKING

from mailboat_common import metrics
from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.log import get_logger, login_shown
from mailboat_store_client.types import AccountId, AuthStatus

from .maildrop import open_maildrop
from .replies import UNAVAILABLE, Answer, Next, err, ok

if TYPE_CHECKING:
    from .session import Session

log = get_logger(__name__)

FAILURE_SECONDS = 1.0
MAX_FAILURES = 3


async def log_in(session: Session, mechanism: str, username: str, password: str) -> Answer:
    """Check the password, then open the maildrop."""
    start = time.perf_counter()
    try:
        result = await session.gateway.store.directory.authenticate(
            username, password, protocol="pop3", client=session.client
        )
    except (Failure, Refused) as error:
        _record(session, mechanism, username, "unavailable", str(error))
        return UNAVAILABLE
    finally:
        metrics.auth_duration.observe(time.perf_counter() - start)
    if result.status is AuthStatus.THROTTLED:
        _record(session, mechanism, username, "throttled")
        return session.erred(err("[SYS/TEMP] Too many failures, try again later"))
    if result.status is not AuthStatus.OK or result.account_id is None:
        return await refuse(session, mechanism, username, result.status.value)
    _record(session, mechanism, username, "ok")
    return await _open(session, result.account_id)


async def refuse(session: Session, mechanism: str, username: str, reason: str) -> Answer:
    """A failed login: logged, counted, slowed down; the third ends the session."""
    session.auth_failures += 1
    _record(session, mechanism, username, "failed", reason)
    await asyncio.sleep(FAILURE_SECONDS)
    last = session.auth_failures >= MAX_FAILURES
    return err("[AUTH] Authentication failed", Next.CLOSE if last else Next.COMMAND)


async def _open(session: Session, account_id: AccountId) -> Answer:
    gateway = session.gateway
    holder = f"{platform.node()} {session.client} {session.peer.port} {os.urandom(8).hex()}"
    try:
        session.drop = await open_maildrop(gateway.store, gateway.ahead, account_id, holder)
    except Refused as error:
        if error.code is RefusedCode.IN_USE:
            return err("[IN-USE] Maildrop is in use by another session")
        raise
    return ok(f"{len(session.drop)} messages")


def _record(session: Session, mechanism: str, login: str, result: str, reason: str = "") -> None:
    metrics.auth_attempts.labels("pop3", mechanism, result).inc()
    log.info(
        "authentication",
        result=result,
        reason=reason,
        protocol="pop3",
        mechanism=mechanism,
        login=login_shown(login, known=result == "ok"),
        client=session.client,
        port=session.peer.port,
        tls=session.tls,
    )
