"""What `ImapReceiver.next_event()` hands out, the limits it keeps, and how it says no.

RFC 9051 4.3 (literals), RFC 7888 (LITERAL+), RFC 3516 (literal8), RFC 3502 (MULTIAPPEND), RFC 4469 (TOOBIG), RFC 8508
(REPLACE).
"""

from __future__ import annotations

from dataclasses import dataclass


class BadCommand(Exception):
    """The peer's command can't be understood or is out of bounds: answer `response()`, go on reading.

    `tag` is b"*" when none could be read. `text` is public. `status` is b"BAD", or b"NO" where an RFC says so
    (SEARCH's charsets).
    """

    def __init__(self, tag: bytes, text: bytes, *, status: bytes = b"BAD", code: bytes | None = None) -> None:
        super().__init__(text.decode("ascii", "replace"))
        self.tag = tag
        self.text = text
        self.status = status
        self.code = code

    def response(self) -> bytes:
        """The line to send, with CRLF."""
        code = b"" if self.code is None else b"[%b] " % self.code
        return b"%b %b %b%b\r\n" % (self.tag, self.status, code, self.text)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in bytes. Use UNAUTHENTICATED, then `Limits(append=…)` after login; what is buffered stays under
    `buffered`.

    line: all text of a command, literals aside.  literal: one buffered literal.  literals: all buffered literals of a
    command.
    append: one message of APPEND or REPLACE, streamed, never buffered whole (0: APPEND's literal is like any other).
    discard: how much of a refused line or non-synchronising literal is read and dropped before the connection must end.
    buffered: above this much waiting input `wants_data` is False and the transport should pause; at least line + 2.
    """

    line: int = 64 * 1024
    literal: int = 64 * 1024
    literals: int = 256 * 1024
    append: int = 50 * 1024 * 1024
    discard: int = 128 * 1024 * 1024
    buffered: int = 128 * 1024


UNAUTHENTICATED = Limits(
    line=8 * 1024, literal=4 * 1024, literals=8 * 1024, append=0, discard=64 * 1024, buffered=16 * 1024
)


@dataclass(frozen=True, slots=True)
class Literal:
    """A buffered literal. `binary`: sent as literal8, may hold NUL."""

    data: bytes
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole command, its grammar unread: `texts[0] literals[0] texts[1] … texts[-1]`; give it to `parse_command`.

    Literal announcements (`{5}`) and line ends are cut off. `tag` is b"*" if the line doesn't begin with one.
    """

    tag: bytes
    texts: tuple[bytes, ...]
    literals: tuple[Literal, ...] = ()


@dataclass(frozen=True, slots=True)
class NeedContinuation:
    """A synchronising literal of `size` bytes may come: send `+ OK` CRLF. (Not emitted for LITERAL+, nor for APPEND's
    message.)"""

    size: int


@dataclass(frozen=True, slots=True)
class AppendFrame:
    """APPEND or REPLACE up to its message literal: `parse_append(frame)`, then `accept_literal()` or `refuse_literal()`
    on the receiver.

    No further event comes before one of the two is called. `more`: a further message of the same command (MULTIAPPEND).
    """

    tag: bytes
    texts: tuple[bytes, ...]
    literals: tuple[Literal, ...]
    size: int
    binary: bool
    more: bool


@dataclass(frozen=True, slots=True)
class LiteralChunk:
    """The next bytes of an accepted message; `last` on the last (a message of 0 bytes is one empty chunk)."""

    data: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class AppendEnd:
    """The APPEND command's end after its last message: `check_append_end(end)` raises BadCommand on garbage; then
    commit."""

    tag: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class ContinuationLine:
    """The line asked for with `expect_line()`, without its line end: DONE, or a SASL response."""

    line: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer broke the framing. Send `response` (whole lines). If `fatal`, then close: the stream's place is lost.

    Otherwise the command is over and the next one follows; nothing of the broken command comes as another event.
    After AppendFrame a Fault means: the command is over, drop the messages received so far.
    """

    response: bytes
    fatal: bool


Event = Frame | NeedContinuation | AppendFrame | LiteralChunk | AppendEnd | ContinuationLine | Fault
