"""One connection to an SMTP server: bytes out, replies in, each with its time limit.

RFC 5321 4.2 and 4.5.3.2; RFC 3207 6 (what came before the TLS handshake is not believed).

Rules: everything that breaks the connection is a `Broken`, after which it is closed. A time limit is for a whole reply,
so that a server which sends an octet a minute gains nothing. At most `MAX_WAITING` replies are kept.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast

from mailboat_wire.smtp import Reply, ReplyError, ReplyReader

BLOCK = 65536
MAX_WAITING = 400  # replies not asked for yet; a pipelined group is 100 recipients


class Broken(Exception):
    """The connection can't be used any more. `reason` is ours; `reply` is what the server said last, if that's why."""

    def __init__(self, reason: str, *, status: str = "4.4.2", reply: Reply | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.reply = reply


class SmtpStream(asyncio.Protocol):
    """The protocol object of one connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._error = ""

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.extend(self._reader.feed(data))
        except ReplyError as error:
            self._replies.extend(error.before)
            self._fail(error.text)
            return
        if len(self._replies) > MAX_WAITING:
            self._fail("the server sends replies nobody asked for")
        self._wake()

    def eof_received(self) -> bool:
        self._fail("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was lost" if exc is not None else "the server closed the connection")
        self.resume_writing()

    def pause_writing(self) -> None:
        self._resumed = self._loop.create_future()

    def resume_writing(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    # -- what a session calls

    @property
    def quiet(self) -> bool:
        """Whether the connection stands and nothing unasked has come: a 421 before its end, for example."""
        return not self._error and not self._replies and self._reader.empty

    @property
    def tls(self) -> str:
        """The TLS version, "" in the clear."""
        found = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return str(found.version()) if found is not None else ""

    async def reply(self, seconds: float) -> Reply:
        """The next reply. Raises Broken."""
        if not self._replies:
            try:
                async with asyncio.timeout(seconds):
                    while not self._replies and not self._error:
                        self._waiter = self._loop.create_future()
                        await self._waiter
            except TimeoutError:
                self._fail("the server took too long to answer")
        if self._replies:
            return self._replies.popleft()
        raise Broken(self._error)

    async def write(self, data: bytes, seconds: float) -> None:
        """Send, waiting for room after each block; `seconds` for each. Raises Broken."""
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            if self._error or self._transport is None:
                raise Broken(self._error or "the connection was lost")
            self._transport.write(view[start : start + BLOCK])
            if self._resumed is not None:
                try:
                    async with asyncio.timeout(seconds):
                        await self._resumed
                except TimeoutError:
                    self._fail("the server took too long to take the message")
                    raise Broken(self._error) from None

    async def ask(self, line: str, seconds: float) -> Reply:
        """Send a command and wait for its reply. Raises Broken."""
        await self.write(line.encode("utf-8") + b"\r\n", seconds)
        return await self.reply(seconds)

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None, seconds: float) -> None:
        """The handshake. Raises Broken with a reason that says what failed."""
        if self._transport is None or not self.quiet:
            self._fail("the server sent more than its answer to STARTTLS")
            raise Broken(self._error, status="4.7.5")
        try:
            async with asyncio.timeout(seconds):
                upgraded = await self._loop.start_tls(self._transport, self, context, server_hostname=server_name)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.abort()
            raise Broken(tls_fault(error), status="4.7.5") from None
        if upgraded is None:
            raise Broken("the connection was lost during the TLS handshake", status="4.7.5")
        self._transport = upgraded

    def abort(self) -> None:
        """Close at once."""
        self._error = self._error or "the connection was given up"
        if self._transport is not None:
            self._transport.abort()

    async def quit(self, seconds: float) -> None:
        """QUIT as the RFC asks for it, without insisting on the answer."""
        try:
            await self.ask("QUIT", seconds)
        except Broken:
            pass
        finally:
            if self._transport is not None:
                self._transport.close()

    def _fail(self, reason: str) -> None:
        if not self._error:
            self._error = reason
            if self._transport is not None:
                self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def tls_fault(error: Exception) -> str:
    """What went wrong in a handshake, in our words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate isn't valid: {error.verify_message or 'not verified'}"
    if isinstance(error, TimeoutError):
        return "the TLS handshake took too long"
    return "the TLS handshake failed"
