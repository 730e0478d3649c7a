"""RETR (RFC 1939 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Retr

from ..replies import NO_MESSAGE, Answer

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: Retr) -> Answer:
    """The message; the connection stuffs dots and ends it."""
    drop = session.drop
    assert drop is not None
    if not drop.exists(command.message):
        return NO_MESSAGE
    n = command.message
    return Answer(b"+OK %d octets\r\n" % drop.size(n), content=drop.content(n), sent=lambda: drop.sent(n))
