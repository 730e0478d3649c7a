"""HELP (RFC 5321 4.1.1.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Reply

if TYPE_CHECKING:
    from ..session import Session

_HELP = replies.reply(214, "2.0.0", "RFC 5321; EHLO tells what is supported")


async def run(_session: Session, _argument: bytes) -> Reply:
    """One line."""
    return _HELP
