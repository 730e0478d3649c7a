"""LSUB: RFC 3501 6.3.9."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..listing import subscribed
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command


@command(t.Lsub, LOGGED_IN)
async def lsub(session: Session, command_: t.Lsub) -> Reply:
    """RFC 3501 6.3.9: a parent that `%` stops at is shown \\Noselect if only its children are subscribed."""
    if not command_.pattern:
        session.write(b'* LSUB (\\Noselect) "/" ""\r\n')
        return ok(b"Delimiter given")
    tree = await session.gateway.store.read.tree(session.account)
    for name, attributes in subscribed(tree, command_.reference, command_.pattern):
        session.write(response.list_line(attributes, name, utf8=session.utf8, word=b"LSUB"))
    return ok(b"Subscriptions listed")
