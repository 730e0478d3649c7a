"""COMPRESS: RFC 4978. Offered only where the operator wants it."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..capabilities import COMPRESS, may_compress
from ..replies import ANSWERED, Reply, bad, no, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import Expunge, command


@command(t.Compress, LOGGED_IN, expunge=Expunge.NEVER, pipelined=False, capabilities=(COMPRESS,))
async def compress(session: Session, command_: t.Compress) -> Reply:
    """RFC 4978 3: the OK is the last that isn't compressed; what was sent behind the command ends the connection."""
    if not may_compress(session):
        raise bad(b"Unknown command")
    if command_.mechanism != b"DEFLATE":
        raise bad(b"Unknown compression")
    if session.link.compressed:
        raise no(b"Already compressed", b"COMPRESSIONACTIVE")
    session.link.compress(ok(b"DEFLATE active").line(command_.tag))
    return ANSWERED
