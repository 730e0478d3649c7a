"""SUBSCRIBE: RFC 9051 6.3.7."""

from __future__ import annotations

import os

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Subscribe, LOGGED_IN)
async def subscribe(session: Session, command_: t.Subscribe) -> Reply:
    """RFC 9051 6.3.7: a name needs no mailbox behind it."""
    write = session.gateway.store.write
    await write.subscribe(session.account, command_.mailbox, True, key=os.urandom(16))
    await session.absorb(command_.mailbox)
    return ok(b"Subscribed")
