"""UIDL (RFC 1939 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Uidl

from ..replies import NO_MESSAGE, Answer

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: Uidl) -> Answer:
    """Unique id of one message or of each."""
    drop = session.drop
    assert drop is not None
    if command.message is not None:
        n = command.message
        return Answer(b"+OK %d %b\r\n" % (n, drop.unique_id(n))) if drop.exists(n) else NO_MESSAGE
    lines = [b"%d %b\r\n" % (n, drop.unique_id(n)) for n in drop.numbers()]
    return Answer(b"+OK\r\n%b.\r\n" % b"".join(lines))
