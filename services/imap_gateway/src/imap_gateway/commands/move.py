"""MOVE: RFC 9051 6.4.8, RFC 6851."""

from __future__ import annotations

import os

from mailboat_common.errors import Refused
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..progress import Progress
from ..replies import Answer, Reply, no, ok, refusal
from ..session import Session
from ..states import State
from .registry import command


@command(t.Move, State.SELECTED, capabilities=(b"MOVE",))
async def move(session: Session, command_: t.Move) -> Reply:
    """RFC 6851 3.3, 4.3: COPYUID in an untagged OK, then the EXPUNGEs, then the tagged OK."""
    selected = session.mailbox
    if selected.read_only:
        raise no(b"Mailbox is read-only", b"READ-ONLY")
    uids = selected.view.select(selected.ranges(command_.sequence, uid=command_.uid))
    if not uids:
        return ok(b"Nothing to move")
    write = session.gateway.store.write
    try:
        with Progress(session, command_.tag):
            result = await write.move(
                session.account, selected.view.mailbox_id, uids, command_.mailbox, key=os.urandom(16)
            )
    except Refused as refused:
        raise Answer(refusal(refused, target=True)) from None
    if result.source_uids:
        code = response.code_copy_uid(result.uid_validity, result.source_uids, result.target_uids)
        session.write(b"* OK [%b] Moved\r\n" % code)
    if result.source is not None:
        await session.settle(result.source, selected)
    await session.settle(result.target, selected)
    return ok(b"Moved")
