"""NOTIFY: RFC 5465."""

from __future__ import annotations

from mailboat_wire.imap import types as t
from mailboat_wire.imap.sequence import SequenceSet

from ..interest import interest_of
from ..replies import Reply, ok
from ..session import Session
from ..states import LOGGED_IN
from .fetch import items_of
from .registry import command


@command(t.Notify, LOGGED_IN, capabilities=(b"NOTIFY",))
async def notify(session: Session, command_: t.Notify) -> Reply:
    """RFC 5465 3.1: it replaces what was asked for before, and does for the selected mailbox what NOOP does.

    Of new messages the UID is shown in any case: it is what a client names them by.
    """
    interest = interest_of(command_)
    shown = t.Fetch(command_.tag, True, SequenceSet(()), interest.fetch)
    items = items_of(session, shown) if interest.fetch else []
    await session.follow()  # before anything is read, or what comes between would be missed
    if session.selected is not None:
        await session.gateway.views.refresh(session.selected.view)
    await session.notify(interest, items, status=command_.status)
    return ok(b"Done") if not command_.groups else ok(b"Watching")
