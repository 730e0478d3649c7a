"""APPEND: RFC 9051 6.3.12, MULTIAPPEND (RFC 3502), APPENDUID (RFC 4315), APPENDLIMIT (RFC 7889), BINARY (RFC 3516)."""

from __future__ import annotations

import os

from mailboat_common.errors import Refused
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Answer, Reply, ok, refusal
from ..session import Session
from ..states import LOGGED_IN
from ..uploads import Uploads
from .registry import command


@command(t.Append, LOGGED_IN, capabilities=(b"APPENDLIMIT", b"BINARY", b"MULTIAPPEND"))
async def append(session: Session, command_: t.Append) -> Reply:
    """RFC 9051 6.3.12, RFC 3502: all messages or none; OK means committed."""
    write = session.gateway.store.write
    try:
        with Uploads(session) as uploads:
            await uploads.look_for(command_.mailbox, command_.message.size)
            following: t.Append | None = command_
            while following is not None:
                await uploads.take(following.message)
                following = await session.link.next_append()
            await uploads.finish()
            result = await write.append(session.account, command_.mailbox, uploads.messages, key=os.urandom(16))
    except Refused as refused:
        raise Answer(refusal(refused, target=True)) from None
    await session.settle(result.delta)
    return ok(b"Appended", response.code_append_uid(result.uid_validity, result.uids))
