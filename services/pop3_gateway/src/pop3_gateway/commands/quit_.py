"""QUIT (RFC 1939 5, 6): the only way into the UPDATE state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mailboat_common import crash
from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_wire.pop3.commands import Quit

from ..replies import LEASE_LOST, Answer, Next, err, ok

if TYPE_CHECKING:
    from ..session import Session

CLOSE_SECONDS = 5.0
"""So long the client waits for what it isn't told of; with the store away the answer would come a minute later."""

log = get_logger(__name__)


async def run(session: Session, _command: Quit) -> Answer:
    """Remove what is marked deleted, record what was retrieved, give the lease back, close."""
    drop, session.drop = session.drop, None
    if drop is None:
        return ok("Bye", Next.CLOSE)
    try:
        await drop.update()
        crash.point("pop3.before_ok")
    except (Failure, Refused) as error:
        log.warning("update failed", cause=str(error))
        if isinstance(error, Refused) and error.code is RefusedCode.IN_USE:
            return LEASE_LOST
        return err("[SYS/TEMP] Some deleted messages were not removed", Next.CLOSE)
    finally:
        closing = session.gateway.spawn(drop.close())
        await asyncio.wait((closing,), timeout=CLOSE_SECONDS)
    return ok("Bye", Next.CLOSE)
