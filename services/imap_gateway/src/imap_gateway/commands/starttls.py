"""STARTTLS: RFC 9051 6.2.1."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..replies import ANSWERED, Reply, bad, ok
from ..session import Session
from ..states import State
from .registry import Expunge, command


@command(t.StartTls, State.NOT_AUTHENTICATED, expunge=Expunge.NEVER, pipelined=False)
async def starttls(session: Session, command_: t.StartTls) -> Reply:
    """RFC 9051 6.2.1: the OK is the last in clear text; nothing the client sent before the handshake counts."""
    if not session.link.can_start_tls:
        raise bad(b"TLS is not offered here")
    await session.link.upgrade(ok(b"Begin TLS").line(command_.tag))
    return ANSWERED
