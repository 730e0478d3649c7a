"""NOOP (RFC 1939 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Noop

from ..replies import Answer, ok

if TYPE_CHECKING:
    from ..session import Session


async def run(_session: Session, _command: Noop) -> Answer:
    """Nothing."""
    return ok()
