"""SMTP replies (RFC 5321 4.2) with enhanced status codes (RFC 2034, RFC 3463) and what the session does next.

Every text that a client sees is written here or beside the rule that needs it; none comes from an exception.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Next(enum.Enum):
    """What the connection does after sending the reply."""

    COMMAND = enum.auto()
    DATA = enum.auto()  # read message data up to CRLF.CRLF
    CHUNK = enum.auto()  # read exactly `Reply.size` octets of a BDAT chunk
    DIALOG = enum.auto()  # the next line belongs to an AUTH exchange
    STARTTLS = enum.auto()
    CLOSE = enum.auto()


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply as sent. `size` and `last` describe a BDAT chunk."""

    data: bytes
    next: Next = Next.COMMAND
    size: int = 0
    last: bool = False

    @property
    def code(self) -> int:
        """The basic code, 0 for a reply that says nothing yet (BDAT)."""
        return int(self.data[:3]) if self.data else 0


def reply(code: int, enhanced: str, text: str, next_: Next = Next.COMMAND) -> Reply:
    """A one-line reply; `enhanced` is empty where RFC 2034 wants none (greeting, EHLO, 3yz)."""
    return Reply(f"{code} {enhanced} {text}\r\n".encode() if enhanced else f"{code} {text}\r\n".encode(), next_)


def lines(code: int, texts: list[str]) -> Reply:
    """A multi-line reply without enhanced codes (EHLO)."""
    head = "".join(f"{code}-{text}\r\n" for text in texts[:-1])
    return Reply(f"{head}{code} {texts[-1]}\r\n".encode())


MAX_ERRORS = 20

OK = reply(250, "2.0.0", "Ok")
RESET = reply(250, "2.0.0", "Flushed")
BAD_SEQUENCE_MAIL = reply(503, "5.5.1", "Need MAIL first")
BAD_SEQUENCE_RCPT = reply(554, "5.5.1", "No valid recipients")
NESTED_MAIL = reply(503, "5.5.1", "A transaction is open already")
NEED_HELO = reply(503, "5.5.1", "Say EHLO or HELO first")
UNKNOWN_COMMAND = reply(500, "5.5.2", "Command not recognised")
BAD_LINE = reply(500, "5.5.2", "Line holds a control character or does not end in CRLF")
LINE_TOO_LONG = reply(500, "5.5.2", "Line too long")
TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors, closing", Next.CLOSE)
IDLE = reply(421, "4.4.2", "Idle too long, closing", Next.CLOSE)
SHUTDOWN = reply(421, "4.3.2", "Service restarting, try again", Next.CLOSE)
UNAVAILABLE = reply(451, "4.3.0", "Temporarily unavailable, try again later")
TOO_BUSY = reply(452, "4.3.1", "Too much mail in flight, try again later")
STORAGE_FULL = reply(452, "4.3.1", "Insufficient system storage")
OVER_QUOTA = reply(452, "4.2.2", "Mailbox is full")
TOO_BIG = reply(552, "5.3.4", "Message is too big")
BAD_PARAMETERS = reply(501, "5.5.4", "Bad parameters")
AUTH_REQUIRED = reply(530, "5.7.0", "Authentication required")
TLS_REQUIRED = reply(530, "5.7.0", "Must issue a STARTTLS command first")
INTERNAL = reply(451, "4.3.0", "Internal error, try again later")
