"""CREATE: RFC 9051 6.3.4, special uses RFC 6154 3, MAILBOXID RFC 8474 4.1."""

from __future__ import annotations

import os

from mailboat_store_client.types import SpecialUse
from mailboat_wire.imap import types as t

from ..objectid import mailbox_id
from ..replies import Reply, no, ok
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

_USES = {use.value.lower().encode("ascii"): use for use in SpecialUse}


@command(t.Create, LOGGED_IN, capabilities=(b"CREATE-SPECIAL-USE", b"OBJECTID"))
async def create(session: Session, command_: t.Create) -> Reply:
    """RFC 9051 6.3.4: missing parents are created too; the new mailbox is subscribed by the store."""
    uses = [_USES.get(use.lower()) for use in command_.special_use]
    if len(uses) > 1 or None in uses:
        raise no(b"Not a special use that can be had", b"USEATTR")
    write = session.gateway.store.write
    use = uses[0] if uses else None
    head = await write.create(session.account, command_.mailbox, key=os.urandom(16), special_use=use)
    await session.absorb(command_.mailbox)
    return ok(b"Created", b"MAILBOXID (%b)" % mailbox_id(head))
