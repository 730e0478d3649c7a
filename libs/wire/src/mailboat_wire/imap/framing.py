"""Where an IMAP command ends, found before its grammar is read, so that a bad command can't desynchronise the stream.

RFC 9051 2.2, 4.3; RFC 7888 (LITERAL+); RFC 3516 (literal8); RFC 3502 (MULTIAPPEND); RFC 8508 (REPLACE).

Use, one command at a time (so one command is in flight and the rest waits in a bounded buffer):

    receiver.receive_data(data)            # pause the transport while not receiver.wants_data
    while (event := receiver.next_event()) is not None: ...

    Frame             parse_command(event, utf8=...) -> Command, or BadCommand -> send its response()
    NeedContinuation  send b"+ OK\\r\\n"
    AppendFrame       parse_append(event); then receiver.accept_literal() -> bytes to send (b"" for LITERAL+), or
                      receiver.refuse_literal() and send a tagged NO
    LiteralChunk      the message, in the pieces it came in; stop calling next_event() to slow the client down
    AppendEnd         check_append_end(event); commit, send the tagged OK
    ContinuationLine  after receiver.expect_line(): called when IDLE or AUTHENTICATE was answered with `+`
    Fault             send event.response; if event.fatal close

Set `receiver.limits` after login. Before STARTTLS (and COMPRESS) takes effect, `take_buffered()` must give b"":
anything else was injected in clear text, and the connection is to be closed.
"""

from __future__ import annotations

import enum
import re

from mailboat_wire.imap.events import (
    UNAUTHENTICATED,
    AppendEnd,
    AppendFrame,
    ContinuationLine,
    Event,
    Fault,
    Frame,
    Limits,
    Literal,
    LiteralChunk,
    NeedContinuation,
)

_ANNOUNCEMENT = re.compile(rb"(~?)\{([0-9]{1,20})(\+?)\}\Z")
_TAG = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,128}(?= |\Z)")
_APPEND = re.compile(rb"[^ ]+ (?:APPEND|(?:UID )?REPLACE [^ ]+) ", re.IGNORECASE)
_ANNOUNCEMENT_ROOM = 32  # bytes kept from the end of a dropped line: no announcement is longer

GO_AHEAD = b"+ OK\r\n"


class _State(enum.Enum):
    LINE = enum.auto()
    LITERAL = enum.auto()
    OFFER = enum.auto()  # an AppendFrame waits for the caller's word
    STREAM = enum.auto()
    DROP_LITERAL = enum.auto()
    DROP_LINE = enum.auto()
    CONTINUATION = enum.auto()
    DEAD = enum.auto()


class _Step(enum.Enum):
    AGAIN = enum.auto()  # the state changed and nothing is to be said: look once more


class ImapReceiver:
    """The server's ear: bytes in, events out. Holds one connection's buffer and its place in the command."""

    __slots__ = (
        "_appended",
        "_buffer",
        "_dropped",
        "_literal",
        "_literal_total",
        "_literals",
        "_pending",
        "_scanned",
        "_state",
        "_tag",
        "_text_total",
        "_texts",
        "limits",
    )

    def __init__(self, limits: Limits = UNAUTHENTICATED) -> None:
        self.limits = limits
        self._buffer = bytearray()
        self._scanned = 0  # no LF before this offset
        self._state = _State.LINE
        self._tag = b"*"
        self._pending: AppendFrame | None = None
        self._reset()

    def _reset(self) -> None:
        """Be ready for a new command. The tag stays: a continuation line belongs to the last frame."""
        self._state = _State.LINE
        self._texts: list[bytes] = []
        self._literals: list[Literal] = []
        self._text_total = 0
        self._literal_total = 0
        self._literal = (0, False, False)  # bytes still to come, binary, synchronising
        self._appended = 0  # messages of this APPEND that came whole
        self._dropped = 0  # of a command already answered

    # --- the caller's side ---

    def receive_data(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self._state is not _State.DEAD:
            self._buffer += data

    @property
    def wants_data(self) -> bool:
        """False while enough input waits: pause reading until events were taken."""
        room = self.limits.buffered
        if self._state is _State.LITERAL:
            room = max(room, self._literal[0])
        return len(self._buffer) < room

    @property
    def buffered(self) -> int:
        """Bytes received and not yet handed out as events."""
        return len(self._buffer)

    @property
    def between_commands(self) -> bool:
        """True if no command is under way: the place for an orderly BYE."""
        return self._state is _State.LINE and not self._texts and not self._appended

    def take_buffered(self) -> bytes:
        """Remove and return what was received but not understood as an event yet."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._scanned = 0
        return rest

    def expect_line(self) -> None:
        """The next line is no command but the client's answer to `+` (DONE, a SASL response)."""
        if not self.between_commands:
            raise RuntimeError("expect_line() inside a command")
        self._state = _State.CONTINUATION

    def accept_literal(self) -> bytes:
        """Let the offered message come. Returns what to send first: b"" if the client doesn't wait."""
        if self._state is not _State.OFFER:
            raise RuntimeError("no literal was offered")
        self._state = _State.STREAM
        return GO_AHEAD if self._literal[2] else b""

    def refuse_literal(self) -> None:
        """Give the command up; the caller answers it. What the client sends of it regardless is dropped."""
        if self._state is not _State.OFFER:
            raise RuntimeError("no literal was offered")
        self._give_up()

    def next_event(self) -> Event | None:
        """The next event, or None if more data is needed (or an offered literal awaits its answer, or after a fatal
        Fault)."""
        event: Event | _Step | None
        while True:
            match self._state:
                case _State.LINE:
                    event = self._read_line()
                case _State.LITERAL:
                    event = self._read_literal()
                case _State.STREAM:
                    return self._read_chunk()
                case _State.CONTINUATION:
                    return self._read_continuation()
                case _State.DROP_LINE:
                    event = self._drop_line()
                case _State.DROP_LITERAL:
                    event = self._drop_literal()
                case _State.OFFER | _State.DEAD:
                    return None
            if event is not _Step.AGAIN:
                return event

    # --- reading ---

    def _take_line(self) -> tuple[bytes, bool] | None:
        """The next line without its end, and whether that was CRLF; None if it isn't there yet."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(buffer)
            return None
        self._scanned = 0
        clean = end > 0 and buffer[end - 1] == 13
        line = bytes(buffer[: end - 1 if clean else end])
        del buffer[: end + 1]
        return line, clean

    def _read_line(self) -> Event | _Step | None:
        room = self.limits.line - self._text_total
        if (taken := self._take_line()) is None:
            # A line of exactly `room` bytes may still be waiting for its CRLF.
            return self._refuse_long_line() if len(self._buffer) > room + 1 else None
        line, clean = taken
        if not self._texts and not self._appended:
            found = _TAG.match(line)
            self._tag = b"*" if found is None else found[0]
        announced = _ANNOUNCEMENT.search(line[-_ANNOUNCEMENT_ROOM:]) if line.endswith(b"}") else None
        if len(line) > room or not clean:
            if announced is not None:
                self._literal = (int(announced[2]), False, not announced[3])
            text = b"BAD [TOOBIG] Line too long" if len(line) > room else b"BAD Lines end with CRLF"
            return self._fault(text, literal=announced is not None)
        self._text_total += len(line) + 2
        if announced is None:
            return self._end_command(line)
        self._texts.append(line[: -len(announced[0])])
        self._literal = (int(announced[2]), bool(announced[1]), not announced[3])
        return self._begin_literal()

    def _end_command(self, line: bytes) -> Event:
        if self._appended:
            end = AppendEnd(self._tag, line)
            self._reset()
            return end
        frame = Frame(self._tag, (*self._texts, line), tuple(self._literals))
        self._reset()
        return frame

    def _begin_literal(self) -> Event | _Step:
        size, binary, waits = self._literal
        limits = self.limits
        if self._is_message():
            if size > limits.append:
                return self._fault(b"NO [TOOBIG] Message too large", literal=True)
            self._state = _State.OFFER
            self._pending = AppendFrame(
                self._tag, tuple(self._texts), tuple(self._literals), size, binary, more=self._appended > 0
            )
            return self._pending
        if size > limits.literal or self._literal_total + size > limits.literals:
            return self._fault(b"BAD [TOOBIG] Literal too large", literal=True)
        self._state = _State.LITERAL
        self._literal_total += size
        return NeedContinuation(size) if waits else _Step.AGAIN

    def _is_message(self) -> bool:
        """Whether the literal just announced is the message of APPEND or REPLACE: any but the mailbox's name."""
        if not self.limits.append:
            return False
        if self._appended:
            return True
        head = _APPEND.match(self._texts[0])
        return head is not None and (len(self._texts) > 1 or head.end() < len(self._texts[0]))

    def _read_literal(self) -> _Step | None:
        size, binary, _ = self._literal
        if len(self._buffer) < size:
            return None
        self._literals.append(Literal(bytes(self._buffer[:size]), binary))
        del self._buffer[:size]
        self._state = _State.LINE
        return _Step.AGAIN

    def _read_chunk(self) -> LiteralChunk | None:
        left, binary, waits = self._literal
        data = bytes(self._buffer[:left])
        if not data and left:
            return None
        del self._buffer[: len(data)]
        left -= len(data)
        self._literal = (left, binary, waits)
        if left:
            return LiteralChunk(data, last=False)
        self._appended += 1
        self._texts = []
        self._literals = []
        self._state = _State.LINE
        return LiteralChunk(data, last=True)

    def _read_continuation(self) -> ContinuationLine | Fault | None:
        if (taken := self._take_line()) is None:
            if len(self._buffer) <= self.limits.line + 1:
                return None
            fault = self._refuse_long_line()
        else:
            line, clean = taken
            self._state = _State.LINE
            if clean and len(line) <= self.limits.line:
                return ContinuationLine(line)
            fault = Fault(
                self._tag + (b" BAD Lines end with CRLF\r\n" if not clean else b" BAD [TOOBIG] Line too long\r\n"),
                fatal=False,
            )
        return fault

    # --- refusing ---

    def _refuse_long_line(self) -> Fault:
        """The line's end isn't in sight: answer, then look for it dropping everything but the last few bytes."""
        if not self._texts and not self._appended and self._state is _State.LINE:
            found = _TAG.match(bytes(self._buffer[:130]))
            self._tag = b"*" if found is None else found[0]
        fault = self._fault(b"BAD [TOOBIG] Line too long", literal=False)
        self._state = _State.DROP_LINE
        return fault

    def _fault(self, text: bytes, *, literal: bool) -> Fault:
        """Refuse the command. With `literal`, the announced one is next in the stream unless the client waits for our
        word."""
        response = b"%b %b\r\n" % (self._tag, text)
        if literal and not self._literal[2] and self._literal[0] > self.limits.discard:
            self._state = _State.DEAD
            self._buffer.clear()
            return Fault(response + b"* BYE [TOOBIG] Literal too large\r\n", fatal=True)
        if literal:
            self._give_up()
        else:
            self._reset()
        return Fault(response, fatal=False)

    def _give_up(self) -> None:
        """Drop what is left of the command. A client that waits for `+` sends nothing of it (RFC 9051 4.3)."""
        if self._literal[2]:
            self._reset()
            return
        size = self._literal[0]
        self._reset()
        self._dropped = -size  # its size was judged already
        self._literal = (size, False, False)
        self._state = _State.DROP_LITERAL

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._scanned = 0
        self._dropped += count

    def _drop_literal(self) -> _Step | None:
        left, binary, waits = self._literal
        count = min(left, len(self._buffer))
        self._drop(count)
        if left > count:
            self._literal = (left - count, binary, waits)
            return None
        self._state = _State.DROP_LINE
        return _Step.AGAIN

    def _drop_line(self) -> Fault | _Step | None:
        """Find the end of a refused line; a non-synchronising literal announced there is dropped as well."""
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._drop(max(0, len(self._buffer) - _ANNOUNCEMENT_ROOM))
            self._scanned = len(self._buffer)
            return self._lose() if self._dropped > self.limits.discard else None
        line = bytes(self._buffer[max(0, end - _ANNOUNCEMENT_ROOM) : end]).removesuffix(b"\r")
        self._drop(end + 1)
        announced = _ANNOUNCEMENT.search(line)
        if announced is None or not announced[3]:
            self._reset()
            return _Step.AGAIN
        size = int(announced[2])
        if self._dropped + size > self.limits.discard:
            return self._lose()
        self._literal = (size, False, False)
        self._state = _State.DROP_LITERAL
        return _Step.AGAIN

    def _lose(self) -> Fault:
        self._state = _State.DEAD
        self._buffer.clear()
        return Fault(b"* BYE Too much of a refused command\r\n", fatal=True)
