"""RENAME: RFC 9051 6.3.6."""

from __future__ import annotations

import os

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Rename, LOGGED_IN)
async def rename(session: Session, command_: t.Rename) -> Reply:
    """RFC 9051 6.3.6: children move along; INBOX stays and is emptied into the new mailbox."""
    write = session.gateway.store.write
    await write.rename(session.account, command_.source, command_.target, key=os.urandom(16))
    if session.selected is not None and command_.source == "INBOX":
        await session.gateway.views.refresh(session.selected.view)
    await session.absorb(command_.source, command_.target)
    return ok(b"Renamed")
