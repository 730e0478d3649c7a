"""DELE (RFC 1939 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Dele

from ..replies import NO_MESSAGE, Answer, ok

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: Dele) -> Answer:
    """Mark for removal at QUIT."""
    drop = session.drop
    assert drop is not None
    if not drop.exists(command.message):
        return NO_MESSAGE
    drop.deleted.add(command.message)
    return ok(f"Message {command.message} deleted")
