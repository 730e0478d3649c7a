"""CHECK: RFC 3501 6.4.1."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import State
from .registry import command


@command(t.Check, State.SELECTED)
async def check(session: Session, _command: t.Check) -> Reply:
    """RFC 3501 6.4.1: everything is on disk already; like NOOP it brings news."""
    await session.gateway.views.refresh(session.mailbox.view)
    return ok(b"Checked")
