"""CAPABILITY: RFC 9051 6.1.1."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..capabilities import capabilities
from ..replies import Reply, ok
from ..session import Session
from ..states import ANY
from .registry import command


@command(t.Capability, ANY)
async def capability(session: Session, _command: t.Capability) -> Reply:
    """RFC 9051 6.1.1."""
    session.write(response.capability(capabilities(session)))
    return ok(b"Capabilities listed")
