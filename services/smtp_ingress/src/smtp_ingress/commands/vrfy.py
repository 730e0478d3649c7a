"""VRFY (RFC 5321 3.5.3, 7.3): answers 252 to everything, so that nobody harvests addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Reply

if TYPE_CHECKING:
    from ..session import Session

_CANNOT = replies.reply(252, "2.5.2", "Can't verify, send some mail and see")


async def run(_session: Session, argument: bytes) -> Reply:
    """The same answer whoever is asked about."""
    return _CANNOT if argument else replies.BAD_PARAMETERS
