"""UTF8 (RFC 6856 2): the client says that it understands UTF-8 in headers and texts.

A message is served as its octets are, in either mode: see docs/protocols.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailboat_wire.pop3.commands import Utf8

from ..replies import Answer, ok

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, _command: Utf8) -> Answer:
    """Agree; texts and messages are UTF-8 anyway."""
    return ok("UTF-8")
