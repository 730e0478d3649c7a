"""COPY: RFC 9051 6.4.7, COPYUID: RFC 4315 3."""

from __future__ import annotations

import os

from mailboat_common.errors import Refused
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..progress import Progress
from ..replies import Answer, Reply, ok, refusal
from ..session import Session
from ..states import State
from .registry import command


@command(t.Copy, State.SELECTED)
async def copy(session: Session, command_: t.Copy) -> Reply:
    """RFC 9051 6.4.7: all or nothing."""
    selected = session.mailbox
    uids = selected.view.select(selected.ranges(command_.sequence, uid=command_.uid))
    if not uids:
        return ok(b"Nothing to copy")
    write = session.gateway.store.write
    try:
        with Progress(session, command_.tag):
            result = await write.copy(
                session.account, selected.view.mailbox_id, uids, command_.mailbox, key=os.urandom(16)
            )
    except Refused as refused:
        raise Answer(refusal(refused, target=True)) from None
    await session.settle(result.target)
    if not result.source_uids:
        return ok(b"Nothing to copy")
    code = response.code_copy_uid(result.uid_validity, result.source_uids, result.target_uids)
    return ok(b"Copied", code)
