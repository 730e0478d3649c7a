"""An ASGI application served inside our own event loop and lifecycle.

uvicorn with httptools, without its signal handlers, loop set-up, access log and logging configuration: those are the
process's business (`lifecycle`, `log`).
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AsgiServer:
    """One application on one listening socket (see `sockets.listening_socket`), which it closes at the end."""

    def __init__(self, app: AsgiApp, listening: socket.socket, *, keep_alive_seconds: int = 75) -> None:
        self._socket = listening
        self._server = _Server(
            uvicorn.Config(
                app,
                interface="asgi3",
                http="httptools",
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
