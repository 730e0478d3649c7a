"""LOGOUT: RFC 9051 6.1.3."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import ANY
from .registry import command


@command(t.Logout, ANY)
async def logout(session: Session, _command: t.Logout) -> Reply:
    """RFC 9051 6.1.3: BYE comes before the tagged OK."""
    await session.deselect()
    session.write(b"* BYE Logging out\r\n")
    session.leave()
    return ok(b"Logged out")
