"""IDLE: RFC 9051 6.3.13, RFC 2177."""

from __future__ import annotations

import asyncio
import random

from mailboat_common.errors import Unavailable
from mailboat_common.log import get_logger
from mailboat_wire.imap import types as t

from .. import metrics
from ..replies import Reply, bad, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

CONTINUE = b"+ idling\r\n"
STILL_HERE = b"* OK Still here\r\n"

log = get_logger(__name__)


@command(t.Idle, LOGGED_IN, capabilities=(b"IDLE",))
async def idle(session: Session, _command: t.Idle) -> Reply:
    """RFC 2177 3: news is written as it comes (`Session.wake`) until the client says DONE.

    A line every two minutes keeps NAT tables alive and shows us clients that are gone; its jitter keeps thousands of
    sessions that began together from speaking together. While the store is away IDLE begins all the same: many clients
    take it for granted and would wait in vain, and the next poll tells what was missed.
    """
    if session.selected is not None:
        try:
            await session.gateway.views.refresh(session.selected.view)
        except Unavailable as error:
            log.warning("IDLE begins with what is known, left to the next poll", cause=repr(error))
    session.idling = True
    metrics.idle_sessions.inc()
    try:
        done = session.link.expect_line(CONTINUE)
        session.wake()  # from here on news is told as it comes
        await _wait(session, done)
        line = done.result()
    finally:
        session.idling = False
        session.nudge = None
        metrics.idle_sessions.dec()
    if line.upper() != b"DONE":
        raise bad(b"Expected DONE")
    return ok(b"Idle ended")


async def _wait(session: Session, done: asyncio.Future[bytes]) -> None:
    """Keep the connection alive, and say what NOTIFY asked for, until the client's line is there."""
    loop = asyncio.get_running_loop()
    period = session.gateway.policy.keepalive_seconds
    due = 0.0
    while not done.done():
        if loop.time() >= due:
            if due and not session.link.full:
                session.write(STILL_HERE)
            due = loop.time() + period * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load
        session.nudge = loop.create_future()
        if session.notifier is not None:
            await session.speak()  # also of what came between two rounds
        waiting = (done, session.nudge)
        await asyncio.wait(waiting, timeout=due - loop.time(), return_when=asyncio.FIRST_COMPLETED)
