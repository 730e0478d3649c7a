"""Lines of a POP3 client, bounded.

RFC 1939 3, RFC 2449 4 (255 bytes a command), RFC 5034 (longer lines within AUTH).

Use: `receive_data(data)`, then `next_line()` until None: a Line, or a Fault to answer. One command is taken at a time,
the rest waits; pause the transport while not `wants_data`. Before STLS takes effect `take_buffered()` must give b"".
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_COMMAND = 1024  # more than the RFC's 255: long user names and passwords
MAX_AUTH = 4096 + 2  # a SASL response
MAX_DISCARD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its CRLF."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer broke the framing: send `response`; if `fatal`, then close."""

    response: bytes
    fatal: bool


class Pop3Receiver:
    """The server's ear. Set `max_line` to MAX_AUTH during AUTH, and back."""

    __slots__ = ("_buffer", "_dead", "_dropped", "_dropping", "_scanned", "max_line")

    def __init__(self, max_line: int = MAX_COMMAND) -> None:
        self.max_line = max_line
        self._buffer = bytearray()
        self._scanned = 0
        self._dropping = False
        self._dropped = 0
        self._dead = False

    def receive_data(self, data: bytes) -> None:
        if not self._dead:
            self._buffer += data

    @property
    def wants_data(self) -> bool:
        """False while enough input waits."""
        return len(self._buffer) <= 4 * MAX_AUTH

    def take_buffered(self) -> bytes:
        """Remove and return what was received and not handed out."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def next_line(self) -> Line | Fault | None:
        """The next line or fault, or None if more data is needed (or after a fatal fault)."""
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._scanned)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            self._scanned = 0
            if self._dropping:
                self._dropping = False
                continue
            # The bound on what waits for its end (below) counts a CR.
            if len(line) > self.max_line + 1 or (len(line) == self.max_line + 1 and not line.endswith(b"\r")):
                return Fault(b"-ERR Line too long\r\n", fatal=False)
            if not line.endswith(b"\r"):
                return Fault(b"-ERR Lines end with CRLF\r\n", fatal=False)
            return Line(line[:-1])
        return self._unfinished()

    def _unfinished(self) -> Fault | None:
        size = len(self._buffer)
        self._scanned = size
        if not self._dropping:
            if size <= self.max_line + 1:
                return None
            self._dropping = True
            self._dropped = 0
            return Fault(b"-ERR Line too long\r\n", fatal=False)
        self._dropped += size
        self._buffer.clear()
        self._scanned = 0
        if self._dropped <= MAX_DISCARD or self._dead:
            return None
        self._dead = True
        return Fault(b"-ERR Line too long, closing\r\n", fatal=True)
