"""ENABLE: RFC 5161."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..features import FEATURES
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Enable, LOGGED_IN, capabilities=(b"ENABLE", b"CONDSTORE"))
async def enable(session: Session, command_: t.Enable) -> Reply:
    """RFC 5161 3.1: unknown features are passed over; ENABLED lists what this command switched on."""
    new = [name for name in command_.features if name in FEATURES and name not in session.enabled]
    for name in new:
        FEATURES[name](session)
    session.write(response.enabled(new))
    return ok(b"Enabled")
