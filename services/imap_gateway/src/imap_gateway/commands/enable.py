"""ENABLE: RFC 5161, RFC 9051 6.3.1."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..features import FEATURES, NAMES, ONLY_BEFORE_SELECT
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Enable, LOGGED_IN, capabilities=(b"ENABLE", b"CONDSTORE", b"UTF8=ACCEPT", b"IMAP4rev2"))
async def enable(session: Session, command_: t.Enable) -> Reply:
    """RFC 5161 3.1: unknown features are passed over; ENABLED lists what this command switched on.

    Those hidden from the account are passed over too, and while a mailbox is selected what changes how it is told.
    """
    before = set(session.enabled)
    late = ONLY_BEFORE_SELECT if session.selected is not None else ()
    for name in command_.features:
        if name in FEATURES and name not in session.masked and name not in late:
            FEATURES[name](session)
    new = [name for name in command_.features if name in session.enabled and name not in before]
    session.write(response.enabled([NAMES.get(name, name) for name in new]))
    return ok(b"Enabled")
