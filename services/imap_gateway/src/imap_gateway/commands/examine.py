"""EXAMINE: RFC 9051 6.3.3."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..replies import Reply
from ..session import Session
from ..states import LOGGED_IN
from .registry import command
from .select import open_mailbox


@command(t.Examine, LOGGED_IN)
async def examine(session: Session, command_: t.Examine) -> Reply:
    """RFC 9051 6.3.3: nothing changes, \\Recent neither."""
    return await open_mailbox(session, command_, read_only=True)
