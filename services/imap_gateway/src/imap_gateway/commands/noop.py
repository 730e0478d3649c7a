"""NOOP: RFC 9051 6.1.2."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import ANY
from .registry import command


@command(t.Noop, ANY)
async def noop(session: Session, _command: t.Noop) -> Reply:
    """RFC 9051 6.1.2: the client asks for news, so it gets what the store knows now, not what events told us."""
    if session.selected is not None:
        await session.gateway.views.refresh(session.selected.view)
    return ok(b"Nothing done")
