"""LIST (RFC 1939 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import List

from ..replies import NO_MESSAGE, Answer, ok

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: List) -> Answer:
    """Octets of one message or of each."""
    drop = session.drop
    assert drop is not None
    if command.message is not None:
        n = command.message
        return ok(f"{n} {drop.size(n)}") if drop.exists(n) else NO_MESSAGE
    lines = [b"%d %d\r\n" % (n, drop.size(n)) for n in drop.numbers()]
    return Answer(b"+OK %d messages\r\n%b.\r\n" % (len(lines), b"".join(lines)))
