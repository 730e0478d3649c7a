"""RSET (RFC 1939 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Rset

from ..replies import Answer, ok

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, _command: Rset) -> Answer:
    """Take all marks back."""
    assert session.drop is not None
    session.drop.deleted.clear()
    return ok()
