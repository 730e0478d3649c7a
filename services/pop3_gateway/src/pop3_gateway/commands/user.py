"""USER (RFC 1939 7): says nothing about whether the user exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import User

from ..replies import Answer, err, ok
from .capa import may_login

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: User) -> Answer:
    """Remember the name for PASS."""
    if not may_login(session):
        return session.erred(err("[AUTH] TLS required first (STLS)"))
    try:
        session.username = command.username.decode("utf-8")
    except UnicodeDecodeError:
        return session.erred(err("User name is not UTF-8"))
    return ok("Send PASS")
