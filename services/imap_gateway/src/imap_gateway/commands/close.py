"""CLOSE: RFC 9051 6.4.1."""

from __future__ import annotations

import os

from mailboat_wire.imap import types as t

from ..replies import Reply, ok
from ..session import Session
from ..states import State
from .registry import command


@command(t.Close, State.SELECTED)
async def close(session: Session, _command: t.Close) -> Reply:
    """RFC 9051 6.4.1: expunges \\Deleted messages without telling this client, and leaves the mailbox."""
    selected = session.mailbox
    view = selected.view
    if not selected.read_only and view.has_deleted():
        delta = await session.gateway.store.write.expunge(session.account, view.mailbox_id, None, key=os.urandom(16))
        await session.deselect()
        await session.settle(delta)
        if session.qresync and delta.modseq_before == selected.told and not selected.tracker.pending:
            # RFC 7162 3.2.8. Not if the client has something still to be told: with this number it would never ask.
            return ok(b"Closed", b"HIGHESTMODSEQ %d" % delta.modseq_after)
    else:
        await session.deselect()
    return ok(b"Closed")
