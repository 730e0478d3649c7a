"""DATA (RFC 5321 4.1.1.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Next, Reply

if TYPE_CHECKING:
    from ..session import Session

_GO_ON = replies.reply(354, "", "End data with <CR><LF>.<CR><LF>", Next.DATA)
_AFTER_BDAT = replies.reply(503, "5.5.1", "BDAT has begun, DATA can't follow")


async def run(session: Session, argument: bytes) -> Reply:
    """Ask for the message, if anybody is to get it."""
    if argument:
        return replies.BAD_PARAMETERS
    if session.transaction is None:
        return replies.BAD_SEQUENCE_MAIL
    if session.transaction.chunked:
        return _AFTER_BDAT
    if not session.transaction.recipients:
        return replies.BAD_SEQUENCE_RCPT
    return _GO_ON
