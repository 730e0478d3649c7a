"""UNAUTHENTICATE: RFC 8437."""

from __future__ import annotations

from mailboat_wire.imap import types as t

from ..capabilities import greeting_code
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Unauthenticate, LOGGED_IN, capabilities=(b"UNAUTHENTICATE",))
async def unauthenticate(session: Session, _command: t.Unauthenticate) -> Reply:
    """RFC 8437 3, 4: TLS and compression stay, everything that login and later commands brought is forgotten."""
    await session.unauthenticate()
    return ok(b"Logged out of the account", b"CAPABILITY " + greeting_code(session))
