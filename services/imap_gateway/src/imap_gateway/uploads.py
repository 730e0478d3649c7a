"""Messages a client sends: what APPEND and REPLACE share. RFC 9051 6.3.12, 9; RFC 4469 (TOOBIG); RFC 7889; RFC
3516 4.4.

Rules: a literal is let in only once there is room for it in memory, and that room is held until the command ends. No
literal may hold NUL (RFC 9051 9), so FETCH could never send a message with NUL as it came. In a literal8 it may stand
in parts of binary encoding; they are kept in base64, and the message is refused if there is NUL elsewhere.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from mailboat_mime import without_nul
from mailboat_store_client.types import AppendMessage
from mailboat_wire.imap import types as t

from .replies import no

if TYPE_CHECKING:
    from .session import Session

BUDGET_SECONDS = 60.0
ASK_FIRST_BYTES = 64 * 1024  # from here on it pays to look for the mailbox before the message is sent


class Uploads:
    """The messages of one command, within a `with`: its end gives the memory they took free."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held = 0
        self._nul = self._plain = False  # whether there is NUL, and whether some of it stands where none may
        self.messages: list[AppendMessage] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._held:
            self._session.gateway.in_flight.release(self._held)

    async def look_for(self, mailbox: str, size: int) -> None:
        """Refused NO_MAILBOX before a large message is sent for nothing."""
        if size >= ASK_FIRST_BYTES:
            await self._session.gateway.store.read.head(self._session.account, mailbox)

    async def take(self, head: t.AppendMessage) -> None:
        """Let the offered message come. NO TOOBIG, LIMIT, UNAVAILABLE.

        A message over APPENDLIMIT is too big for any command; several that are too much together may come one by one.
        """
        limit = self._session.gateway.policy.message_limit
        if head.size > limit:
            raise no(b"Message too large", b"TOOBIG")
        if self._held + head.size > limit:
            raise no(b"Too much in one APPEND, send fewer messages at a time", b"LIMIT")
        await self._hold(head.size)
        content = await self._session.link.read_literal()
        if b"\0" in content:
            self._nul = True
            self._plain = self._plain or not head.binary
        flags = tuple(flag.decode("ascii") for flag in head.flags)
        date = None if head.internal_date is None else int(head.internal_date.timestamp()) * 1000
        self.messages.append(AppendMessage(content, flags, date))

    async def finish(self) -> None:
        """Once the command's end was read: `messages` as they can be kept. NO CANNOT, UNKNOWN-CTE, TOOBIG."""
        if self._plain:
            raise no(b"NUL in a message needs a literal8", b"CANNOT")
        if self._nul:
            await self._hold(self._held)  # base64 and the octets it is made of
            self.messages = [await _without_nul(message) for message in self.messages]
            if sum(len(message.content) for message in self.messages) > self._session.gateway.policy.message_limit:
                raise no(b"Messages too large in base64", b"TOOBIG")

    async def _hold(self, size: int) -> None:
        if not await self._session.gateway.in_flight.acquire(size, BUDGET_SECONDS):
            raise no(b"Too much mail in flight, try again later", b"UNAVAILABLE")
        self._held += size


async def _without_nul(message: AppendMessage) -> AppendMessage:
    """RFC 3516 4.4."""
    content = message.content
    if b"\0" in content:
        kept = await asyncio.to_thread(without_nul, content)
        if kept is None:
            raise no(b"NUL is possible in parts of binary encoding only", b"UNKNOWN-CTE")
        message = replace(message, content=kept)
    return message
