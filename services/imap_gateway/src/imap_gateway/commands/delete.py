"""DELETE: RFC 9051 6.3.5."""

from __future__ import annotations

import os

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Delete, LOGGED_IN)
async def delete(session: Session, command_: t.Delete) -> Reply:
    """RFC 9051 6.3.5; sessions in the mailbox, this one too, get BYE between commands."""
    await session.gateway.store.write.delete(session.account, command_.mailbox, key=os.urandom(16))
    await session.absorb(command_.mailbox)
    return ok(b"Deleted")
