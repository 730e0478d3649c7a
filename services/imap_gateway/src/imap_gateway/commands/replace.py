"""REPLACE and UID REPLACE: RFC 8508."""

from __future__ import annotations

import os

from mailboat_common.errors import Refused, RefusedCode
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Answer, Reply, bad, no, ok, refusal
from ..selected import Selected
from ..session import Session
from ..states import State
from ..uploads import Uploads
from .registry import command


@command(t.Replace, State.SELECTED, capabilities=(b"REPLACE",))
async def replace(session: Session, command_: t.Replace) -> Reply:
    """RFC 8508 3.3-3.5: the new message and the old one's end are one commit, or nothing happened.

    Which message a number names is settled before the literal comes: no EXPUNGE is told in between, but another session
    may take the message away meanwhile. APPENDUID comes in an untagged OK before EXPUNGE (RFC 8508 4.3).
    """
    selected, write = session.mailbox, session.gateway.store.write
    if selected.read_only:
        raise no(b"Mailbox is read-only", b"READ-ONLY")
    uid = _target(selected, command_)
    try:
        with Uploads(session) as uploads:
            await uploads.look_for(command_.mailbox, command_.message.size)
            await uploads.take(command_.message)
            if await session.link.next_append() is not None:
                raise bad(b"REPLACE takes one message")
            await uploads.finish()
            (message,) = uploads.messages
            result = await write.replace(
                session.account, selected.view.mailbox_id, uid, command_.mailbox, message, key=os.urandom(16)
            )
    except Refused as refused:
        if refused.code is RefusedCode.NO_MESSAGE:
            await session.gateway.views.refresh(selected.view)  # so that the EXPUNGE comes with the answer
        raise Answer(refusal(refused, target=True)) from None
    session.write(b"* OK [%b] Replaced\r\n" % response.code_append_uid(result.uid_validity, [result.uid]))
    if result.source is not None:
        await session.settle(result.source, selected)
    await session.settle(result.target, selected)
    if session.condstore:
        session.tell(expunge=True)
        return ok(b"Replaced", b"HIGHESTMODSEQ %d" % selected.view.sync)
    return ok(b"Replaced")


def _target(selected: Selected, command_: t.Replace) -> int:
    """The UID of the message to replace. NO if there is none, and then the literal is refused unread."""
    ranges = selected.ranges(command_.sequence, uid=command_.uid)
    uids = selected.view.select(ranges)
    if uids:
        return uids[0]
    known = bool(ranges) and ranges[0][0] < selected.view.uid_next
    raise no(b"Message is gone", b"EXPUNGEISSUED") if known else no(b"No such message")
