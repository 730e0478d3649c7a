"""STARTTLS (RFC 3207). What came in clear text behind it is thrown away by the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_common.server import TlsMode

from .. import reply as replies
from ..reply import Next, Reply

if TYPE_CHECKING:
    from ..session import Session

_READY = replies.reply(220, "2.0.0", "Ready to start TLS", Next.STARTTLS)
_ACTIVE = replies.reply(503, "5.5.1", "TLS is active already")
_NOT_HERE = replies.reply(502, "5.5.1", "STARTTLS isn't offered here")


def keyword(session: Session) -> str | None:
    """STARTTLS while it can be had."""
    return "STARTTLS" if session.peer.listener.tls is TlsMode.STARTTLS and not session.tls else None


async def run(session: Session, argument: bytes) -> Reply:
    """Agree to begin the handshake."""
    if argument:
        return replies.BAD_PARAMETERS
    if session.tls:
        return _ACTIVE
    if keyword(session) is None:
        return _NOT_HERE
    session.end_transaction()
    return _READY
