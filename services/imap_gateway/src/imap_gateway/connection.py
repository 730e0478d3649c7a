"""A client's connection: bytes in, commands one at a time, bytes out. The one file that knows the event loop's
transports.

RFC 9051 5.4 (autologout), 5.5 (order), 6.2.1 (STARTTLS), 7.1.5 (BYE).

Rules:
- There is no task while nothing runs: input wakes one that lives until no whole command is left.
- Commands run in order. While one runs, further input waits in a bounded buffer and then in the kernel.
- BYE is sent only between commands (or in IDLE), whoever wants the session to end.
- After a fault inside a literal that was promised to the client the connection is cut: no reply could be told from
  data.
- Many commands at once give others their turn, whether or not they await anything.
- A message comes at a pace (PACE_BYTES in each `Policy.pace_seconds`), and so does the end of its command, or the
  connection is cut: it holds room that all sessions share.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailboat_common.connection import Connection
from mailboat_common.errors import PeerError
from mailboat_common.log import get_logger
from mailboat_common.server import Admission, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_common.turn import Turn
from mailboat_wire.imap import types as t
from mailboat_wire.imap.events import (
    UNAUTHENTICATED,
    AppendEnd,
    AppendFrame,
    BadCommand,
    ContinuationLine,
    Event,
    Fault,
    Frame,
    Limits,
    LiteralChunk,
    NeedContinuation,
)
from mailboat_wire.imap.framing import GO_AHEAD, ImapReceiver
from mailboat_wire.imap.parser import check_append_end, parse_append, parse_command

from .capabilities import greeting_code
from .commands import registry
from .gateway import Gateway
from .session import Session
from .states import State

log = get_logger(__name__)

PACE_BYTES = 64 * 1024


class FatalFault(PeerError):
    """The peer broke the framing within a command; what had to be said was sent."""


class ImapConnection(Connection):
    """One client."""

    def __init__(self, gateway: Gateway, admission: Admission, tls: CertificateStore | None) -> None:
        super().__init__(admission, idle_seconds=gateway.policy.idle_seconds)
        self.session = Session(gateway, self)
        self.gateway = gateway
        self._tls = tls
        self._receiver = ImapReceiver()
        self._task: asyncio.Task[None] | None = None
        self._input: asyncio.Future[None] | None = None
        self._line: asyncio.Future[bytes] | None = None
        self._appended: t.AppendMessage | None = None
        self._offered = False
        self._bye: bytes | None = None
        self._reading = True
        self._ended = False  # the client will send no more
        self._login_timer: asyncio.TimerHandle | None = None
        self._poked = False  # the session may have something to say that no command asked for

    # --- Connection's hooks ---

    def on_connected(self) -> None:
        self._time_login()
        self.write(b"* OK [CAPABILITY %b] Mailboat ready\r\n" % greeting_code(self.session))

    def on_data(self, data: bytes) -> None:
        self._receiver.receive_data(data)
        if self._line is not None:
            self._take_line()
        elif self._input is not None:
            self._input.set_result(None)
            self._input = None
        elif self._task is None and self._bye is None:
            self._task = self._loop.create_task(self._serve())
        if self._reading and not self._receiver.wants_data:
            self._reading = False
            self.pause_reading()

    def on_eof(self) -> None:
        if self._task is None or self._line is not None or self._input is not None:
            self.close()
        else:
            self._ended = True  # what was asked for is finished first

    def on_idle(self) -> None:
        if self._task is not None and not self.session.idling and self._line is None:
            self.touch()  # a command runs: it is we who take the time
        else:
            self.end(b"Autologout; idle for too long")

    def on_lost(self, error: Exception | None) -> None:
        if self._login_timer is not None:
            self._login_timer.cancel()
        if self._task is not None:
            self._task.cancel()
        left = self.session.closed()
        if left is not None:
            self.gateway.views.spawn(left)

    def request_close(self) -> None:
        self.end(b"Server is closing, connect again")

    def resume_writing(self) -> None:
        super().resume_writing()
        self.session.wake()

    # --- Link ---

    @property
    def client(self) -> tuple[str, int]:
        return str(self.peer.address), self.peer.port

    @property
    def can_start_tls(self) -> bool:
        may = self._tls is not None and self.peer.listener.tls is TlsMode.STARTTLS
        return may and not self.peer.tls and not self.compressed

    @property
    def full(self) -> bool:
        return self._write_paused

    async def upgrade(self, reply: bytes) -> None:
        assert self._tls is not None, "STARTTLS is offered only with certificates"
        await self.start_tls(self._tls.server_context(), reply, self._receiver.take_buffered)

    def compress(self, reply: bytes) -> None:
        self.start_deflate(reply, self._receiver.take_buffered)

    def expect_line(self, prompt: bytes) -> asyncio.Future[bytes]:
        self._receiver.expect_line()
        self.write(prompt)
        line: asyncio.Future[bytes] = self._loop.create_future()
        self._line = line
        self._loop.call_soon(self._take_line)  # the client may have sent it already
        return line

    async def read_literal(self) -> bytes:
        self._offered = False
        self.write(self._receiver.accept_literal())
        chunks: list[bytes] = []
        paced = 0
        async with self._pace() as pace:
            while True:
                event = await self._next()
                if isinstance(event, LiteralChunk):
                    chunks.append(event.data)
                    paced += len(event.data)
                    if event.last:
                        break
                    if paced >= PACE_BYTES:
                        paced = 0
                        pace.reschedule(self._loop.time() + self.gateway.policy.pace_seconds)
        return b"".join(chunks)

    async def next_append(self) -> t.Append | None:
        async with self._pace():
            event = await self._next()
        if isinstance(event, AppendEnd):
            check_append_end(event, self._appended)
            return None
        assert isinstance(event, AppendFrame), "a message is followed by another or by the end"
        following = self._parse_append(event)
        assert isinstance(following, t.Append), "only APPEND's further messages come without a command's word"
        return following

    def set_limits(self, limits: Limits, *, idle_seconds: float) -> None:
        self._receiver.limits = limits
        if self._login_timer is not None:
            self._login_timer.cancel()
            self._login_timer = None
        self.set_idle_seconds(idle_seconds)

    def await_login(self) -> None:
        self.set_limits(UNAUTHENTICATED, idle_seconds=self.gateway.policy.idle_seconds)
        self._time_login()

    def poke(self) -> None:
        self._poked = True
        if self._task is None and self._bye is None and not self.full:
            self._task = self._loop.create_task(self._serve())

    def spoke(self) -> None:
        if self._bye is not None and self._line is not None:
            self._say_bye()

    def end(self, reason: bytes) -> None:
        if self._bye is None:
            self._bye = reason
            if self._task is None or (self._line is not None and not self.session.speaking):
                self._say_bye()

    # --- own ---

    def _time_login(self) -> None:
        self._login_timer = self._loop.call_later(self.gateway.policy.login_seconds, self._login_overdue)

    def _login_overdue(self) -> None:
        if self.session.state is State.NOT_AUTHENTICATED:
            self._bye = None
            self.write(b"* BYE Login takes too long\r\n")
            self.close()

    def _say_bye(self) -> None:
        if self._bye:
            self.tell_bye(self._bye)
        self.close()

    def tell_bye(self, reason: bytes) -> None:
        """The BYE line, once; LOGOUT has said it itself."""
        if self.session.state is not State.LOGOUT:
            self.write(b"* BYE %b\r\n" % reason)

    def _take_line(self) -> None:
        """Give a command that waits for a line what came."""
        if self._line is None or self._line.done():
            return
        event = self._receiver.next_event()
        if event is None:
            return
        line, self._line = self._line, None
        self._wants_more()
        if isinstance(event, ContinuationLine):
            line.set_result(event.line)
        else:
            assert isinstance(event, Fault), "expect_line() leads to a line or a fault"
            line.set_exception(self._fault(event))

    def _wants_more(self) -> None:
        if not self._reading and self._receiver.wants_data:
            self._reading = True
            self.resume_reading()

    @asynccontextmanager
    async def _pace(self) -> AsyncIterator[asyncio.Timeout]:
        """What is awaited inside must come in time. PeerError if it doesn't."""
        try:
            async with asyncio.timeout(self.gateway.policy.pace_seconds) as pace:
                yield pace
        except TimeoutError as slow:
            raise PeerError(private="a message comes too slowly") from slow

    async def _next(self) -> Event:
        """The next event of the command under way."""
        while True:
            event = self._receiver.next_event()
            self._wants_more()
            if event is None:
                if self._ended:
                    raise ConnectionResetError("the client ended within a command")
                self._input = self._loop.create_future()
                await self._input
            elif isinstance(event, Fault):
                raise self._fault(event)
            elif isinstance(event, NeedContinuation):
                self.write(GO_AHEAD)
            else:
                return event

    def _fault(self, fault: Fault) -> FatalFault:
        self.session.bad_commands += 1
        self.write(fault.response)
        if fault.fatal:
            self._bye = b""
        return FatalFault(private="broken framing")

    async def _serve(self) -> None:
        """Run commands until none is left whole, then end: an idle client has no task."""
        turn = Turn()
        try:
            while self._bye is None:
                event = self._receiver.next_event()
                self._wants_more()
                if event is not None:
                    await self._handle(event)
                elif self._poked and not self.full:
                    self._poked = False
                    await self.session.speak()
                else:
                    break
                if self.full:
                    await self.drain()
                if turn.over:
                    await turn.pass_on()
        except ConnectionError:
            self.abort()
        except PeerError as error:
            log.info("connection cut", client=self.client[0], cause=error.private)
            self.abort()
        finally:
            self._task = None
        if self._bye is not None and not self.lost:
            self._say_bye()
        elif self._ended:
            self.close()

    async def _handle(self, event: Event) -> None:
        match event:
            case Frame():
                try:
                    command = parse_command(event, utf8=self.session.utf8)
                except BadCommand as wrong:
                    self._refuse(wrong)
                    return
                if not self._may_follow(command):
                    raise PeerError(private="clear text behind STARTTLS or COMPRESS")
                await self._run(command)
            case AppendFrame():
                await self._append(event)
            case NeedContinuation():
                self.write(GO_AHEAD)
            case Fault():
                self._fault(event)
            case _:
                raise AssertionError(f"{type(event).__name__} outside its command")

    def _may_follow(self, command: t.Command) -> bool:
        entry = registry.find(command.name)
        return entry is None or entry.pipelined or not self._receiver.buffered

    async def _run(self, command: t.Command) -> None:
        try:
            await self.session.run(command)
        except BadCommand as wrong:
            self._refuse(wrong)
        except FatalFault:
            return  # the fault's response has answered the command

    async def _append(self, frame: AppendFrame) -> None:
        self._appended = None
        try:
            command = self._parse_append(frame)
        except BadCommand as wrong:
            self._receiver.refuse_literal()
            self._refuse(wrong)
            return
        await self._run(command)
        if self._offered:
            self._receiver.refuse_literal()

    def _parse_append(self, frame: AppendFrame) -> t.Append | t.Replace:
        self._offered = True
        command = parse_append(frame, self._appended, utf8=self.session.utf8)
        self._appended = command.message
        return command

    def _refuse(self, wrong: BadCommand) -> None:
        self.session.bad_commands += 1
        if self.session.selected is not None:
            self.session.tell(expunge=False)
        self.write(wrong.response())
        if self.session.bad_commands >= self.gateway.policy.bad_commands:
            self._bye = b"[CLIENTBUG] Too many wrong commands"
