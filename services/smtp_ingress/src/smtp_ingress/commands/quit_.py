"""QUIT (RFC 5321 4.1.1.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Next, Reply

if TYPE_CHECKING:
    from ..session import Session

_BYE = replies.reply(221, "2.0.0", "Bye", Next.CLOSE)


async def run(session: Session, _argument: bytes) -> Reply:
    """End the session. Whoever has read 221 and sends the same again means it."""
    session.end_transaction()
    await session.say_confirmed()
    return _BYE
