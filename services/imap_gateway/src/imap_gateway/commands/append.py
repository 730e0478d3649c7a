"""APPEND: RFC 9051 6.3.12, MULTIAPPEND (RFC 3502), APPENDUID (RFC 4315), TOOBIG (RFC 4469)."""

from __future__ import annotations

import os

from mailboat_common.errors import Refused
from mailboat_store_client.types import AppendMessage
from mailboat_wire.imap import response
from mailboat_wire.imap import types as t

from ..replies import Answer, Reply, no, ok, refusal
from ..session import Session
from ..states import LOGGED_IN
from .registry import command

BUDGET_SECONDS = 60.0
ASK_FIRST_BYTES = 64 * 1024  # from here on it pays to look for the mailbox before the message is sent


@command(t.Append, LOGGED_IN, capabilities=(b"MULTIAPPEND",))
async def append(session: Session, command_: t.Append) -> Reply:
    """RFC 9051 6.3.12, RFC 3502: all messages or none; OK means committed.

    NUL is refused: no literal may hold one (RFC 9051 9), so FETCH could never send the message as it came.
    """
    budget = session.gateway.in_flight
    held = 0
    try:
        if command_.message.size >= ASK_FIRST_BYTES:
            await session.gateway.store.read.head(session.account, command_.mailbox)
        messages: list[AppendMessage] = []
        following: t.Append | None = command_
        while following is not None:
            size = following.message.size
            if held + size > session.gateway.policy.message_limit:
                raise no(b"Messages too large", b"TOOBIG")
            if not await budget.acquire(size, BUDGET_SECONDS):
                raise no(b"Too much mail in flight, try again later", b"UNAVAILABLE")
            held += size
            messages.append(_message(following.message, await session.link.read_literal()))
            following = await session.link.next_append()
        if any(b"\0" in message.content for message in messages):
            raise no(b"A message with NUL can't be kept", b"CANNOT")
        result = await session.gateway.store.write.append(
            session.account, command_.mailbox, messages, key=os.urandom(16)
        )
    except Refused as refused:
        raise Answer(refusal(refused, target=True)) from None
    finally:
        if held:
            budget.release(held)
    await session.gateway.views.settle(result.delta, None)
    return ok(b"Appended", response.code_append_uid(result.uid_validity, result.uids))


def _message(head: t.AppendMessage, content: bytes) -> AppendMessage:
    flags = tuple(flag.decode("ascii") for flag in head.flags)
    date = None if head.internal_date is None else int(head.internal_date.timestamp()) * 1000
    return AppendMessage(content, flags, date)
