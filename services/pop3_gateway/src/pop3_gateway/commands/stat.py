"""STAT (RFC 1939 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Stat

from ..replies import Answer, ok

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, _command: Stat) -> Answer:
    """Number and octets of the messages not marked deleted."""
    drop = session.drop
    assert drop is not None
    sizes = [drop.size(n) for n in drop.numbers()]
    return ok(f"{len(sizes)} {sum(sizes)}")
