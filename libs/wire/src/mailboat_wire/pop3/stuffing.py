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


class TopCutter:
    """What TOP shows of a message that comes in chunks: the header, the blank line and `lines` lines of the body.

    `feed()` each chunk until `done`; a message without a body, or with fewer lines, is shown whole.
    """

    __slots__ = ("_cr", "_in_header", "_left", "_tail", "done")

    def __init__(self, lines: int) -> None:
        self.done = False
        self._left = lines
        self._in_header = True
        self._tail = b"\r\n"  # as if a line had ended before the first: a message may begin with its blank line
        self._cr = False

    def feed(self, chunk: bytes) -> bytes:
        """The part of this chunk that is shown."""
        if self.done:
            return b""
        start = 0
        if self._in_header:
            block = self._tail + chunk
            blank = block.find(b"\r\n\r\n")
            if blank < 0:
                self._tail = block[-3:]
                return chunk
            start = blank + 4 - len(self._tail)
            self._in_header = False
        return chunk[:start] + self._body(chunk[start:])

    def _body(self, chunk: bytes) -> bytes:
        carried = int(self._cr)
        block = b"\r" + chunk if carried else chunk
        ends = block.count(b"\r\n")
        if ends < self._left:
            self._left -= ends
            self._cr = block.endswith(b"\r")
            return chunk
        place = 0
        for _ in range(self._left):
            place = block.find(b"\r\n", place) + 2
        self.done = True
        return chunk[: max(0, place - carried)]
