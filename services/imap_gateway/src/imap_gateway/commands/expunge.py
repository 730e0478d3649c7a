"""EXPUNGE: RFC 9051 6.4.3; UID EXPUNGE: RFC 4315 2.1."""

from __future__ import annotations

import os

from mailboat_wire.imap import types as t

from ..replies import Reply, no, ok
from ..session import Session
from ..states import State
from .registry import command


@command(t.Expunge, State.SELECTED, capabilities=(b"UIDPLUS",))
async def expunge(session: Session, command_: t.Expunge) -> Reply:
    """RFC 9051 6.4.3, RFC 4315 2.1: the EXPUNGE responses are what the session owes afterwards."""
    selected = session.mailbox
    view = selected.view
    if selected.read_only:
        raise no(b"Mailbox is read-only", b"READ-ONLY")
    write = session.gateway.store.write
    uids = None if command_.uids is None else view.select(selected.ranges(command_.uids, uid=True))
    if uids is None or len(uids):
        delta = await write.expunge(session.account, view.mailbox_id, uids, key=os.urandom(16))
        await session.settle(delta, selected)
    if session.condstore:
        session.tell(expunge=True, asked=True)
        return ok(b"Expunged", b"HIGHESTMODSEQ %d" % view.sync)
    return ok(b"Expunged")
