"""Messages as multi-line POP3 answers: dot-stuffed and ended, whole or in chunks; and what TOP shows.

RFC 1939 3 (byte-stuffing, termination) and 7 (TOP). The work is the library's searches over blocks, not per line.
"""

from __future__ import annotations

END = b".\r\n"


def dot_stuff(message: bytes) -> bytes:
    """`message` dot-stuffed, its last line ended with CRLF; END is to follow."""
    if message.rfind(b"\r\n.") >= 0:  # backwards: the library's faster direction
        message = message.replace(b"\r\n.", b"\r\n..")
    if message.startswith(b"."):
        message = b"." + message
    return message if not message or message.endswith(b"\r\n") else message + b"\r\n"


class DotStuffer:
    """The same for a message that comes in chunks: `feed()` each, then `finish()`, which adds END."""

    __slots__ = ("_at_start", "_carry")

    def __init__(self) -> None:
        self._carry = b""  # CR or CRLF whose line's first byte isn't known yet
        self._at_start = True

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to send now; a line end at the chunk's end is kept back."""
        if not chunk:
            return b""
        block = self._carry + chunk
        if block.endswith(b"\r\n"):
            self._carry = b"\r\n"
        elif block.endswith(b"\r"):
            self._carry = b"\r"
        else:
            self._carry = b""
        if self._carry:
            block = block[: -len(self._carry)]
        if block.rfind(b"\r\n.") >= 0:
            block = block.replace(b"\r\n.", b"\r\n..")
        if self._at_start and (block or self._carry):
            if block.startswith(b"."):
                block = b"." + block
            self._at_start = False
        return block

    def finish(self) -> bytes:
        """What is left, a CRLF if the message didn't end with one, and END."""
        if self._carry == b"\r\n" or self._at_start:
            return self._carry + END
        return self._carry + b"\r\n" + END


def top(message: bytes, lines: int) -> bytes:
    """The header, the blank line and the first `lines` lines of the body; all of a message without a body."""
    if message.startswith(b"\r\n"):
        place = 2
    else:
        blank = message.find(b"\r\n\r\n")
        if blank < 0:
            return message
        place = blank + 4
    for _ in range(lines):
        end = message.find(b"\r\n", place)
        if end < 0:
            return message
        place = end + 2
    return message[:place]
