"""LOGIN: RFC 9051 6.2.3."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..authentication import log_in, require_protection
from ..replies import Reply
from ..session import Session
from ..states import State
from .registry import command


@command(t.Login, State.NOT_AUTHENTICATED)
async def login(session: Session, command_: t.Login) -> Reply:
    """RFC 9051 6.2.3."""
    require_protection(session)
    try:
        user, secret = command_.username.decode("utf-8"), command_.password.decode("utf-8")
    except UnicodeDecodeError:
        user = secret = ""  # refused as any wrong login is
    return await log_in(session, "LOGIN", user, secret)
