"""ID: RFC 2971."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import ANY
from .registry import command


@command(t.Id, ANY, capabilities=(b"ID",))
async def identify(session: Session, _command: t.Id) -> Reply:
    """RFC 2971 3.1: the name, no version (3.3 warns of telling attackers)."""
    session.write(response.identity([(b"name", b"Mailboat")]))
    return ok(b"Identified")
