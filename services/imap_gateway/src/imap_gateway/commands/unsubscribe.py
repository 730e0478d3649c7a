"""UNSUBSCRIBE: RFC 9051 6.3.8."""

from __future__ import annotations

import os

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Unsubscribe, LOGGED_IN)
async def unsubscribe(session: Session, command_: t.Unsubscribe) -> Reply:
    """RFC 9051 6.3.8: a name needs no mailbox behind it."""
    write = session.gateway.store.write
    await write.subscribe(session.account, command_.mailbox, False, key=os.urandom(16))
    await session.absorb(command_.mailbox)
    return ok(b"Unsubscribed")
