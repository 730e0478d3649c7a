"""What a command is answered: +OK or -ERR (RFC 1939 3), perhaps with content, and what the connection does after it."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass


class Next(enum.Enum):
    """What the connection does after the answer."""

    COMMAND = enum.auto()
    STARTTLS = enum.auto()
    CLOSE = enum.auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """`data` is sent first, then `content` dot-stuffed and ended, if there is any, then `sent` is told."""

    data: bytes
    next: Next = Next.COMMAND
    content: AsyncGenerator[bytes, None] | None = None
    sent: Callable[[], None] | None = None

    @property
    def ok(self) -> bool:
        """+OK or -ERR."""
        return self.data.startswith(b"+OK")


def ok(text: str = "", next_: Next = Next.COMMAND) -> Answer:
    """+OK with a text."""
    return Answer(f"+OK {text}\r\n".encode() if text else b"+OK\r\n", next_)


def err(text: str, next_: Next = Next.COMMAND) -> Answer:
    """-ERR with a text, perhaps with a response code of RFC 2449 or RFC 3206 in front."""
    return Answer(f"-ERR {text}\r\n".encode(), next_)


NO_MESSAGE = err("No such message")
UNAVAILABLE = err("[SYS/TEMP] Temporarily unavailable, try again later")
WRONG_STATE = err("Not now")
TOO_MANY_ERRORS = err("Too many errors, closing", Next.CLOSE)
LEASE_LOST = err("[IN-USE] The maildrop was taken over, closing", Next.CLOSE)
