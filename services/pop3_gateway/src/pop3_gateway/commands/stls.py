"""STLS (RFC 2595 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Stls

from ..replies import Answer, Next, err, ok
from .capa import may_start_tls

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, _command: Stls) -> Answer:
    """Agree to begin the handshake; what was said before is forgotten."""
    if not may_start_tls(session):
        return err("STLS isn't offered now")
    session.username = ""
    return ok("Begin TLS", Next.STARTTLS)
