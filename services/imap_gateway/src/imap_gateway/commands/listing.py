"""LIST: RFC 9051 6.3.9, extended by RFC 5258, with STATUS by RFC 5819 and special uses by RFC 6154."""

from __future__ import annotations

from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..listing import Found, find
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command
from .status import check_items, status_line


@command(t.List, LOGGED_IN, capabilities=(b"CHILDREN", b"LIST-EXTENDED", b"LIST-STATUS", b"SPECIAL-USE"))
async def list_(session: Session, command_: t.List) -> Reply:
    """RFC 9051 6.3.9: an empty pattern (in the plain form) asks for the delimiter."""
    if command_.patterns == ("",) and not command_.extended:
        session.write(b'* LIST (\\Noselect) "/" ""\r\n')
        return ok(b"Delimiter given")
    check_items(session, command_.status)
    tree = await session.gateway.store.read.tree(session.account)
    for found in find(tree, command_):
        session.write(response.list_line(found.attributes, found.name, utf8=session.utf8, child_info=found.child_info))
        if command_.status and found.head is not None and _wanted(found):
            session.write(await status_line(session, found.head, command_.status, found.name))
    return ok(b"Mailboxes listed")


def _wanted(found: Found) -> bool:
    """RFC 5819 2: no STATUS for what was listed only because of its children."""
    return not found.for_children
