"""BDAT (RFC 3030 2): the message in chunks of a stated size."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..reply import Next, Reply

if TYPE_CHECKING:
    from ..session import Session

_ARGUMENT = re.compile(rb"(\d{1,10})( +LAST)?\Z", re.IGNORECASE)
_SYNTAX = Reply(b"501 5.5.4 BDAT wants a size and perhaps LAST\r\n", Next.CLOSE)


def keyword(_: Session) -> str:
    """CHUNKING."""
    return "CHUNKING"


async def run(session: Session, argument: bytes) -> Reply:
    """Read a chunk. Its octets follow at once, so they are read even if the answer will be no.

    A size that can't be read leaves no way to find the next command: the session ends.
    """
    match = _ARGUMENT.match(argument)
    if match is None:
        return _SYNTAX
    if session.transaction is not None:
        session.transaction.chunked = True
    return Reply(b"", Next.CHUNK, int(match[1]), match[2] is not None)
