"""APPEND: RFC 9051 6.3.12, MULTIAPPEND (RFC 3502), APPENDUID (RFC 4315), TOOBIG (RFC 4469), APPENDLIMIT (RFC 7889),
BINARY (RFC 3516).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

from mailboat_common.errors import Refused
from mailboat_mime import without_nul
from mailboat_store_client.types import AppendMessage
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Answer, Reply, no, ok, refusal
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

BUDGET_SECONDS = 60.0
ASK_FIRST_BYTES = 64 * 1024  # from here on it pays to look for the mailbox before the message is sent


@command(t.Append, LOGGED_IN, capabilities=(b"APPENDLIMIT", b"BINARY", b"MULTIAPPEND"))
async def append(session: Session, command_: t.Append) -> Reply:
    """RFC 9051 6.3.12, RFC 3502: all messages or none; OK means committed.

    A message over APPENDLIMIT is too big for any APPEND; several that are too much together may come one by one.
    No literal may hold NUL (RFC 9051 9), so FETCH could never send a message with NUL as it came. In a literal8 it may
    stand in parts of binary encoding; they are kept in base64, and the message is refused if there is NUL elsewhere.
    """
    budget = session.gateway.in_flight
    held = 0
    nul = plain = False  # whether there is NUL, and whether some of it stands in a literal that allows none
    try:
        if command_.message.size >= ASK_FIRST_BYTES:
            await session.gateway.store.read.head(session.account, command_.mailbox)
        messages: list[AppendMessage] = []
        following: t.Append | None = command_
        while following is not None:
            size = following.message.size
            if size > session.gateway.policy.message_limit:
                raise no(b"Message too large", b"TOOBIG")
            if held + size > session.gateway.policy.message_limit:
                raise no(b"Too much in one APPEND, send fewer messages at a time", b"LIMIT")
            if not await budget.acquire(size, BUDGET_SECONDS):
                raise no(b"Too much mail in flight, try again later", b"UNAVAILABLE")
            held += size
            message = _message(following.message, await session.link.read_literal())
            if b"\0" in message.content:
                nul = True
                plain = plain or not following.message.binary
            messages.append(message)
            following = await session.link.next_append()
        if plain:
            raise no(b"NUL in a message needs a literal8", b"CANNOT")
        if nul:
            if not await budget.acquire(held, BUDGET_SECONDS):  # base64 and the octets it is made of
                raise no(b"Too much mail in flight, try again later", b"UNAVAILABLE")
            held *= 2
            messages = [await _without_nul(message) for message in messages]
            if sum(len(message.content) for message in messages) > session.gateway.policy.message_limit:
                raise no(b"Messages too large in base64", b"TOOBIG")
        result = await session.gateway.store.write.append(
            session.account, command_.mailbox, messages, key=os.urandom(16)
        )
    except Refused as refused:
        raise Answer(refusal(refused, target=True)) from None
    finally:
        if held:
            budget.release(held)
    await session.settle(result.delta)
    return ok(b"Appended", response.code_append_uid(result.uid_validity, result.uids))


async def _without_nul(message: AppendMessage) -> AppendMessage:
    """RFC 3516 4.4."""
    content = message.content
    if b"\0" in content:
        kept = await asyncio.to_thread(without_nul, content)
        if kept is None:
            raise no(b"NUL is possible in parts of binary encoding only", b"UNKNOWN-CTE")
        message = replace(message, content=kept)
    return message


def _message(head: t.AppendMessage, content: bytes) -> AppendMessage:
    flags = tuple(flag.decode("ascii") for flag in head.flags)
    date = None if head.internal_date is None else int(head.internal_date.timestamp()) * 1000
    return AppendMessage(content, flags, date)
