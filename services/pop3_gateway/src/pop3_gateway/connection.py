"""The one file of the POP3 gateway that knows sockets: lines in, answers out, TLS, idle time, drain.

Rules: commands run one after the other; the answers of pipelined ones leave joined. A client that reads nothing stops
its own session, not our memory. While a session waits for its client, no task but the renewal of its lease exists. A
command that was begun is finished even if its client is gone, and only then the lease is given back, once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import aclosing

from mailboat_common.connection import Connection
from mailboat_common.errors import Failure, PeerError, Refused, RefusedCode
from mailboat_common.log import get_logger
from mailboat_common.server import Admission
from mailboat_common.turn import Turn
from mailboat_wire.pop3 import MAX_AUTH, MAX_COMMAND, DotStuffer, Fault, Line, Pop3Receiver

from . import metrics
from .gateway import Gateway
from .replies import NO_MESSAGE, Answer, Next, err
from .session import Session

log = get_logger(__name__)

IDLE_SECONDS = 600.0  # RFC 1939 3: at least ten minutes
LOGIN_SECONDS = 60.0
_GREETING = b"+OK Mailboat POP3 ready\r\n"
_SHUTDOWN = b"-ERR [SYS/TEMP] Service restarting, try again\r\n"
_INTERNAL = b"-ERR [SYS/TEMP] Internal error\r\n"
_UNREADABLE = err("[SYS/TEMP] Message can't be read now")


class Pop3Connection(Connection):
    """One client."""

    def __init__(self, admission: Admission, gateway: Gateway) -> None:
        super().__init__(admission, idle_seconds=LOGIN_SECONDS)
        self._gateway = gateway
        self._receiver = Pop3Receiver()
        self._task: asyncio.Task[None] | None = None
        self._ended_by_client = False
        self._ended_by_us = False
        self.session = Session(gateway, admission.peer)
        self._login_timer = self._loop.call_later(LOGIN_SECONDS, self._login_overdue)

    # -- Connection's hooks

    def on_connected(self) -> None:
        self.session.tls = self.tls_version or ""
        self.write(_GREETING)

    def on_data(self, data: bytes) -> None:
        if self.session.drop is not None and self.output_gone:
            self.session.drop.client_went_on()
        self._receiver.receive_data(data)
        if not self._receiver.wants_data:
            self.pause_reading()
        if self._task is None and not self.closing:
            self._task = self._gateway.spawn(self._work())

    def on_eof(self) -> None:
        """What was asked for is answered first."""
        if self._task is None:
            self.close()
        else:
            self._ended_by_client = True

    def on_idle(self) -> None:
        """Without a word, and nothing is removed (RFC 1939 3)."""
        if self._task is None:
            self.close()
        else:
            self.touch()  # a command runs: it is we who take the time

    def on_lost(self, error: Exception | None) -> None:
        self._login_timer.cancel()
        if self._task is None and self.session.drop is not None:
            self._gateway.spawn(self.session.end())

    def request_close(self) -> None:
        """Between commands; marks of a session that never said QUIT are dropped, as RFC 1939 6 wants."""
        self._ended_by_us = True
        if self._task is None:
            self._say_goodbye()

    def _login_overdue(self) -> None:
        """However busy it was: who isn't logged in by now takes up a place. Without a word, as for the idle."""
        if self.session.drop is None:
            self.close()

    # -- commands

    async def _work(self) -> None:
        """Answer what is buffered."""
        turn = Turn()
        try:
            while not (self.closing or self._ended_by_us):
                event = self._receiver.next_line()
                if self._receiver.wants_data:
                    self.resume_reading()
                if event is None:
                    break
                await self._answer(event)
                await self._let_client_read()
                if turn.over:
                    await turn.pass_on()
        except ConnectionError as error:
            log.debug("connection ended", client=self.session.client, cause=repr(error))
            self.abort()
        except PeerError as error:
            self.write(err(error.public).data)
            self.close()
        except Exception:
            log.exception("session failed", client=self.session.client)
            self.write(_INTERNAL)
            self.close()
        finally:
            self._task = None
        if self.lost:
            await self.session.end()
        elif self._ended_by_us and not self.closing:
            self._say_goodbye()
        elif self._ended_by_client:
            self.close()

    def _say_goodbye(self) -> None:
        self.write(_SHUTDOWN)
        self.close()

    async def _let_client_read(self) -> None:
        """Wait while the client has too much unread. Raises ConnectionResetError once it is gone."""
        if self._write_paused or self.lost:
            await self.drain()

    async def _answer(self, event: Line | Fault) -> None:
        session = self.session
        if isinstance(event, Fault):
            session.exchange = None
            self.write(event.response)
            if event.fatal or session.erred(Answer(b"")).next is Next.CLOSE:
                self.close()
        elif session.exchange is not None:
            await self._timed(b"AUTH", session.respond(event.data))
        else:
            command = session.parse(event.data)
            if isinstance(command, Answer):
                await self._send(command)
            else:
                await self._timed(command.name, session.run(command))
        self._receiver.max_line = MAX_COMMAND if session.exchange is None else MAX_AUTH
        if session.drop is not None and self.idle_seconds != IDLE_SECONDS:
            self.set_idle_seconds(IDLE_SECONDS)

    async def _timed(self, name: bytes, running: Awaitable[Answer]) -> None:
        start = time.perf_counter()
        ok = await self._send(await running)
        if self.session.exchange is None:
            result = "ok" if ok else "err"
            metrics.command_duration.labels(name.decode(), result).observe(time.perf_counter() - start)

    async def _send(self, answer: Answer) -> bool:
        """Whether the client was told +OK in the end."""
        if answer.next is Next.STARTTLS:
            await self.start_tls(self._gateway.tls, answer.data, self._receiver.take_buffered)
            self.session.tls = self.tls_version or ""
            self.session.peer = self.peer
            return True
        if answer.content is not None:
            return await self._send_content(answer)
        self.write(answer.data)
        if answer.next is Next.CLOSE:
            self.close()
        return answer.ok

    async def _send_content(self, answer: Answer) -> bool:
        """The first octets are awaited before +OK is said; a failure behind it can only cut the connection."""
        assert answer.content is not None
        stuffer = DotStuffer()
        started = False
        try:
            async with aclosing(answer.content) as chunks:
                async for chunk in chunks:
                    if not started:
                        self.write(answer.data)
                        started = True
                    self.write(stuffer.feed(chunk))
                    await self._let_client_read()
        except (Failure, Refused) as error:
            log.warning("message not readable", cause=str(error))
            if started:
                self.abort()
                return False
            gone = isinstance(error, Refused) and error.code is RefusedCode.NO_MESSAGE
            self.write((NO_MESSAGE if gone else _UNREADABLE).data)
            return False
        if not started:
            self.write(answer.data)
        self.write(stuffer.finish())
        if answer.sent is not None:
            answer.sent()
        return True
