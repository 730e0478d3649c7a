"""IDLE: RFC 9051 6.3.13, RFC 2177."""

from __future__ import annotations

import asyncio
import random

from mailboat_wire.imap import types as t

from .. import metrics
from ..replies import Reply, bad, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

CONTINUE = b"+ idling\r\n"
STILL_HERE = b"* OK Still here\r\n"


@command(t.Idle, LOGGED_IN, capabilities=(b"IDLE",))
async def idle(session: Session, _command: t.Idle) -> Reply:
    """RFC 2177 3: news is written as it comes (`Session.wake`) until the client says DONE.

    A line every two minutes keeps NAT tables alive and shows us clients that are gone; its jitter keeps thousands of
    sessions that began together from speaking together.
    """
    if session.selected is not None:
        await session.gateway.views.refresh(session.selected.view)
    session.idling = True
    metrics.idle_sessions.inc()
    try:
        done = session.link.expect_line(CONTINUE)
        session.wake()  # from here on news is told as it comes
        period = session.gateway.policy.keepalive_seconds
        while not done.done():
            await asyncio.wait((done,), timeout=period * random.uniform(0.75, 1.0))  # noqa: S311 - spreads load
            if not done.done() and not session.link.full:
                session.write(STILL_HERE)
        line = done.result()
    finally:
        session.idling = False
        metrics.idle_sessions.dec()
    if line.upper() != b"DONE":
        raise bad(b"Expected DONE")
    return ok(b"Idle ended")
