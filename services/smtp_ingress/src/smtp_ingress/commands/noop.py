"""NOOP (RFC 5321 4.1.1.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Reply

if TYPE_CHECKING:
    from ..session import Session


async def run(_session: Session, _argument: bytes) -> Reply:
    """Nothing; an argument is allowed and ignored."""
    return replies.OK
