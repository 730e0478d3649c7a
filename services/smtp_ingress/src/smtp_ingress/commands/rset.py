"""RSET (RFC 5321 4.1.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Reply

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, argument: bytes) -> Reply:
    """Forget the transaction; the session stays."""
    if argument:
        return replies.BAD_PARAMETERS
    session.end_transaction()
    return replies.RESET
