"""PASS (RFC 1939 7): the password is the rest of the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Pass

from ..authentication import log_in, refuse
from ..replies import Answer, err

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: Pass) -> Answer:
    """Log in as the user whom USER named."""
    if not session.username:
        return session.erred(err("Send USER first"))
    username, session.username = session.username, ""
    try:
        password = command.password.decode("utf-8")
    except UnicodeDecodeError:
        return await refuse(session, "USER", username, "bad_credentials")
    return await log_in(session, "USER", username, password)
