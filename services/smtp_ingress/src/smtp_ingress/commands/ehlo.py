"""EHLO and HELO (RFC 5321 4.1.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import reply as replies
from ..reply import Reply

if TYPE_CHECKING:
    from ..session import Session

_NO_NAME = replies.reply(501, "5.5.4", "Say who you are")


def _greet(session: Session, argument: bytes, *, esmtp: bool) -> bool:
    if not argument:
        return False
    session.end_transaction()
    session.helo, session.esmtp = argument.decode("utf-8", "replace")[:255], esmtp
    return True


async def run(session: Session, argument: bytes) -> Reply:
    """EHLO: resets a transaction (RFC 5321 4.1.4) and announces the extensions."""
    if not _greet(session, argument, esmtp=True):
        return _NO_NAME
    from . import ehlo_keywords  # noqa: PLC0415 - the registry imports this module

    return replies.lines(250, [session.service.settings.hostname, *ehlo_keywords(session)])


async def helo(session: Session, argument: bytes) -> Reply:
    """HELO: the same without extensions."""
    if not _greet(session, argument, esmtp=False):
        return _NO_NAME
    return replies.lines(250, [session.service.settings.hostname])
