"""The one file of the POP3 gateway that knows sockets: lines in, answers out, TLS, idle time, drain.

Rules: commands run one after the other; the answers of pipelined ones leave joined. A client that reads nothing stops
its own session, not our memory. No task exists while a session waits for its client.
"""

from __future__ import annotations

import asyncio
import ssl
import time

from mailboat_common.connection import Connection
from mailboat_common.errors import Failure, PeerError, Refused
from mailboat_common.log import get_logger
from mailboat_common.server import Admission
from mailboat_store_client.ports import Store
from mailboat_wire.pop3 import DotStuffer, Fault, Line, Pop3Receiver

from . import metrics
from .session import Answer, Next, Session, err
from .settings import Settings

log = get_logger(__name__)

IDLE_SECONDS = 600.0  # RFC 1939 3: at least ten minutes
LOGIN_SECONDS = 60.0
_GREETING = b"+OK Mailboat POP3 ready\r\n"
_SHUTDOWN = b"-ERR [SYS/TEMP] Service restarting, try again\r\n"
_INTERNAL = b"-ERR [SYS/TEMP] Internal error\r\n"


class Pop3Connection(Connection):
    """One client."""

    def __init__(self, admission: Admission, settings: Settings, store: Store, tls: ssl.SSLContext) -> None:
        super().__init__(admission, idle_seconds=LOGIN_SECONDS)
        self._tls = tls
        self._receiver = Pop3Receiver()
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self.session = Session(settings, store, admission.peer)

    def on_connected(self) -> None:
        self.session.tls = self.tls_version or ""
        self.write(_GREETING)

    def on_data(self, data: bytes) -> None:
        self._receiver.receive_data(data)
        if not self._receiver.wants_data:
            self.pause_reading()
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def on_lost(self, error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self.session.drop is not None:
            self._task = asyncio.create_task(self.session.end())

    def request_close(self) -> None:
        """Between commands; marks of a session that never said QUIT are dropped, as RFC 1939 6 wants."""
        self._ending = True
        if self._task is None:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self.write(_SHUTDOWN)
        self.close()

    async def _work(self) -> None:
        """Answer what is buffered."""
        try:
            while not self.closing and (event := self._receiver.next_line()) is not None:
                await self._answer(event)
                await self.drain()
                if self._receiver.wants_data:
                    self.resume_reading()
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
                await asyncio.shield(self.session.end())
        if self._ending and not self.closing:
            self._say_goodbye()

    async def _answer(self, event: Line | Fault) -> None:
        if isinstance(event, Fault):
            self.write(event.response)
            if event.fatal or self.session.erred(Answer(b"")).next is Next.CLOSE:
                self.close()
            return
        command = self.session.parse(event.data)
        if isinstance(command, Answer):
            await self._send(command)
            return
        start = time.perf_counter()
        answer = await self.session.run(command)
        await self._send(answer)
        result = "ok" if answer.ok else "err"
        metrics.command_duration.labels(command.name.decode(), result).observe(time.perf_counter() - start)
        if self.session.drop is not None and self.idle_seconds != IDLE_SECONDS:
            self.set_idle_seconds(IDLE_SECONDS)

    async def _send(self, answer: Answer) -> None:
        if answer.next is Next.STARTTLS:
            await self.start_tls(self._tls, answer.data, self._receiver.take_buffered)
            self.session.tls = self.tls_version or ""
            self.session.peer = self.peer
            return
        if answer.content is not None:
            await self._send_content(answer)
        else:
            self.write(answer.data)
        if answer.next is Next.CLOSE:
            self.close()

    async def _send_content(self, answer: Answer) -> None:
        """The first octets are awaited before +OK is said; a failure behind it can only cut the connection."""
        assert answer.content is not None
        stuffer = DotStuffer()
        started = False
        try:
            async for chunk in answer.content:
                if not started:
                    self.write(answer.data)
                    started = True
                self.write(stuffer.feed(chunk))
                await self.drain()
        except (Failure, Refused) as error:
            log.warning("message not readable", cause=str(error))
            if started:
                self.abort()
            else:
                self.write(err("[SYS/TEMP] Message can't be read now").data)
            return
        if not started:
            self.write(answer.data)
        self.write(stuffer.finish())
