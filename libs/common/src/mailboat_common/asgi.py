"""An ASGI application served inside our own event loop and lifecycle.

uvicorn with httptools, without its signal handlers, loop set-up, access log and logging configuration: those are the
process's business (`lifecycle`, `log`).

Rules: a request's head has HEAD_BYTES and HEAD_SECONDS, a connection that says nothing as long: uvicorn bounds neither,
so anybody who could connect could fill the memory with one header line, or the table of descriptors with silence.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0
_REFUSAL = b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """A connection whose heads are bounded. The timer runs only while one is awaited or stands unfinished."""

    _in_head = False
    _moved = False  # a head or a message ended, or octets of a body came
    _unmoved_bytes = 0  # received in a row without that: a head, trailers, the extensions of a chunk
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._moved = False
        super().data_received(data)
        self._unmoved_bytes = 0 if self._moved else self._unmoved_bytes + len(data)
        if self._unmoved_bytes > HEAD_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        # Octets that begin no head (empty lines, the rest of a body nobody wants) have ended uvicorn's own waiting.
        elif self._in_head or self.cycle is None or self.cycle.response_complete:
            self._arm()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._moved = False, True
        self._disarm()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._moved = True
        super().on_message_complete()

    def _arm(self) -> None:
        if self._overdue is None and not self.transport.is_closing():
            self._overdue = self.loop.call_later(HEAD_SECONDS, self._late)

    def _disarm(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def _late(self) -> None:
        if self._in_head:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(_REFUSAL % status)
            self.transport.close()


class AsgiServer:
    """One application on one listening socket (see `sockets.listening_socket`), which it closes at the end.

    While `ending` is true each answer is its connection's last (`Connection: close`): who is told so never sends a
    request into a connection that `stop` closes.
    """

    def __init__(
        self,
        app: AsgiApp,
        listening: socket.socket,
        *,
        keep_alive_seconds: int = 75,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._app = app
        self._ending = ending
        self._socket = listening
        self._server = _Server(
            uvicorn.Config(
                self._serve,
                interface="asgi3",
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=keep_alive_seconds,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Begins to serve; requests are answered from now on (the socket has been queueing them)."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="asgi")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_last if self._ending() else send)

    async def stop(self, deadline: float | None = None) -> None:
        """Accepts no more, lets running requests finish until `deadline` (event loop time), then ends."""
        if self._task is None:
            self._socket.close()
            return
        self._server.should_exit = True
        left = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
        await asyncio.wait((self._task,), timeout=left)
        if not self._task.done():
            self._server.force_exit = True
        await self._task
        self._socket.close()


async def respond(send: Send, status: int, body: bytes, content_type: bytes) -> None:
    """Sends a whole answer."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode("ascii"))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
