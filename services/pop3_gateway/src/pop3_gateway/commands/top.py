"""TOP (RFC 1939 7): a message's header and the first lines of its body. It is no retrieval."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from mailboat_wire.pop3 import TopCutter
from mailboat_wire.pop3.commands import Top

from ..replies import NO_MESSAGE, Answer

if TYPE_CHECKING:
    from ..session import Session


async def run(session: Session, command: Top) -> Answer:
    """The connection stuffs dots and ends it."""
    drop = session.drop
    assert drop is not None
    if not drop.exists(command.message):
        return NO_MESSAGE
    return Answer(b"+OK\r\n", content=_top(drop.content(command.message, keep=True), command.lines))


async def _top(content: AsyncGenerator[bytes, None], lines: int) -> AsyncGenerator[bytes, None]:
    """What is shown; no more of a message is read than that."""
    cutter = TopCutter(lines)
    async with aclosing(content) as chunks:
        async for chunk in chunks:
            yield cutter.feed(chunk)
            if cutter.done:
                return
