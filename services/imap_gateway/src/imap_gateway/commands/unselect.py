"""UNSELECT: RFC 9051 6.4.2, RFC 3691."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import State
from .registry import command


@command(t.Unselect, State.SELECTED, capabilities=(b"UNSELECT",))
async def unselect(session: Session, _command: t.Unselect) -> Reply:
    """RFC 3691: CLOSE without expunging."""
    await session.deselect()
    return ok(b"Unselected")
