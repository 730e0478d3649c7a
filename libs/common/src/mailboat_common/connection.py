"""What every line-based server connection does below its protocol: buffered writes, back-pressure, idle time, closing,
TLS, compression.

`Connection` is an asyncio.Protocol (`server.ServedProtocol`); a gateway derives from it and implements `on_data`
(synchronous: feed the sans-IO parser, wake the session). No task is made per read or write.

Rules: writes are joined up to 64 KB; a peer that doesn't read pauses `drain()`, never grows our memory; a peer that
neither sends nor reads is dropped after the idle time; bytes that came in clear text are never used after STARTTLS.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from mailboat_common.deflate import Deflate
from mailboat_common.errors import PeerError
from mailboat_common.log import get_logger
from mailboat_common.server import HANDSHAKE_SECONDS, Admission, ServedProtocol

log = get_logger(__name__)

JOIN_BYTES = 64 * 1024
HIGH_WATER_BYTES = 256 * 1024
CLOSE_SECONDS = 10.0


async def start_tls(
    transport: asyncio.Transport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext
) -> asyncio.Transport:
    """Upgrades a server's connection; everything read from now on is TLS, clear text fails the handshake.

    The caller must have paused reading since it saw the command and must hold no unread input (see
    `Connection.start_tls`). Raises ssl.SSLError, ConnectionError or TimeoutError; the transport is closed then.
    """
    loop = asyncio.get_running_loop()
    upgraded = await loop.start_tls(
        transport, protocol, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
    )
    if upgraded is None:
        raise ConnectionResetError("closed within the TLS handshake")
    return upgraded


class Connection(ServedProtocol):
    """A client's connection. Override the `on_…` hooks and `request_close`."""

    def __init__(self, admission: Admission, *, idle_seconds: float) -> None:
        self.peer = admission.peer
        self.idle_seconds = idle_seconds
        self.lost = False
        self._admission = admission
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._output: list[bytes] = []
        self._output_bytes = 0
        self._flush_planned = False
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._active = self._loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._deflate: Deflate | None = None
        self._reading_paused = False
        self._resume_due = False  # once what waits to be inflated was taken
        self._ended_behind = False  # EOF came while input still waits to be inflated

    # -- hooks

    def on_connected(self) -> None:
        """The connection is there (after the handshake, if TLS comes first): greet."""

    def on_data(self, data: bytes) -> None:
        """Input came; must not block."""

    def on_eof(self) -> None:
        """The client will send no more. Default: close after what is buffered was sent."""
        self.close()

    def on_idle(self) -> None:
        """Nothing came and nothing went for `idle_seconds`. Default: close. `touch()` grants another period."""
        self.close()

    def on_lost(self, error: Exception | None) -> None:
        """The connection is gone: end the session's task, release what it holds."""

    def request_close(self) -> None:
        """The process wants to end: say goodbye between commands. Default: close now."""
        self.close()

    # -- output

    def write(self, data: bytes) -> None:
        """Queues output; it leaves at the end of this loop turn, or at once when 64 KB have gathered."""
        self._output.append(data)
        self._output_bytes += len(data)
        if self._output_bytes >= JOIN_BYTES:
            self.flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._planned_flush)

    def flush(self) -> None:
        """Hands everything queued to the transport in one write."""
        if not self._output:
            return
        output = self._output[0] if len(self._output) == 1 else b"".join(self._output)
        self._output.clear()
        self._output_bytes = 0
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(output if self._deflate is None else self._deflate.compress(output))

    async def drain(self) -> None:
        """Flushes, then waits while the peer reads too slowly. Raises ConnectionResetError once it is gone."""
        self.flush()
        if self._write_paused and not self.lost:
            if self._writable is None:
                self._writable = self._loop.create_future()
            await asyncio.shield(self._writable)
        if self.lost:
            raise ConnectionResetError("the client is gone")

    @property
    def output_gone(self) -> bool:
        """Whether everything written has left the process, but for what a TLS transport's own socket may hold back."""
        return not self._output and (self._transport is None or not self._transport.get_write_buffer_size())

    @property
    def closing(self) -> bool:
        """Whether it was closed, by either side."""
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Sends what is queued, then closes; a peer that doesn't take it is cut off after ten seconds."""
        self.flush()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._close_timer = self._loop.call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Closes at once and drops what is queued."""
        self._output.clear()
        self._output_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    # -- input and time

    def pause_reading(self) -> None:
        """Lets the peer's bytes wait in the kernel: its window closes, our memory doesn't grow."""
        self._reading_paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        self._reading_paused = False
        if self._deflate is not None and self._deflate.waiting:
            self._resume_due = True
            self._loop.call_soon(self._inflate)
            return
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def touch(self) -> None:
        """Counts as activity, for instance while a long command runs."""
        self._active = self._loop.time()

    def set_idle_seconds(self, seconds: float) -> None:
        """Another idle time from now on (after login, in IDLE)."""
        self.idle_seconds = seconds
        self.touch()
        self._arm_idle()

    # -- TLS

    @property
    def tls_version(self) -> str | None:
        """`TLSv1.2` or `TLSv1.3`; None in clear text."""
        session = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return cast(str | None, session.version()) if session is not None else None

    async def start_tls(self, context: ssl.SSLContext, reply: bytes, take_pending: Callable[[], bytes]) -> None:
        """Sends `reply` (the go-ahead) and turns to TLS, from within the handler of the command.

        `take_pending` empties the parser and returns what was in it: input pipelined behind the command came in clear
        text, perhaps from someone in the middle (RFC 9051 6.2.1, RFC 3207 6), so any is a PeerError, before the
        reply. When the handshake fails the connection is closed and ConnectionError raised.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.pause_reading()
        if take_pending():
            raise PeerError("Input after STARTTLS before TLS", "clear text behind STARTTLS")
        self.write(reply)
        self.flush()
        try:
            upgraded = await start_tls(transport, self, context)
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            transport.abort()
            raise ConnectionAbortedError(f"TLS handshake failed: {error}") from error
        self._transport = upgraded
        upgraded.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.peer = replace(self.peer, tls=True)
        self.touch()

    # -- compression

    @property
    def compressed(self) -> bool:
        """Whether `start_deflate` was called."""
        return self._deflate is not None

    def start_deflate(self, reply: bytes, take_pending: Callable[[], bytes]) -> None:
        """Sends `reply` (the go-ahead) as it is; all that follows is compressed, both ways.

        `take_pending` empties the parser and returns what was in it: the peer may compress only what it sends after
        the go-ahead, so anything is a PeerError, before the reply.
        """
        if take_pending():
            raise PeerError("Input behind COMPRESS", "clear text behind COMPRESS")
        self.write(reply)
        self.flush()
        self._deflate = Deflate()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.touch()
        self._arm_idle()
        self.on_connected()

    def data_received(self, data: bytes) -> None:
        self._active = self._loop.time()
        if self._deflate is None:
            self.on_data(data)
        else:
            self._deflate.receive(data)
            self._inflate()

    def eof_received(self) -> bool:
        if self._deflate is not None and self._deflate.waiting:
            self._ended_behind = True
        else:
            self.on_eof()
        # Clear text stays half open until on_eof's close; TLS can't, and asyncio warns when asked to.
        return not self.peer.tls

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self.touch()
        self._wake_writer()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        for timer in (self._idle_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._wake_writer()
        self._admission.release()
        self.on_lost(exc)

    # -- own

    def _inflate(self) -> None:
        """Hand on what the peer compressed, as long as it is wanted."""
        deflate = self._deflate
        assert deflate is not None, "called for compressed connections"
        try:
            while deflate.waiting and not self._reading_paused and not self.lost:
                data = deflate.take()
                if data:
                    self.on_data(data)
        except PeerError as error:
            log.info("connection cut", client=str(self.peer.address), cause=error.private)
            self.abort()
            return
        if deflate.waiting:
            return
        if self._ended_behind:
            self._ended_behind = False
            self.on_eof()
        elif self._resume_due and not self._reading_paused:
            self._resume_due = False
            self.resume_reading()

    def _planned_flush(self) -> None:
        self._flush_planned = False
        self.flush()

    def _wake_writer(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _arm_idle(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = self._loop.call_at(self._active + self.idle_seconds, self._check_idle)

    def _check_idle(self) -> None:
        # One timer a period, not one a packet: activity only moves `_active`.
        if self.lost:
            return
        if self._loop.time() - self._active >= self.idle_seconds:
            if self._write_paused:
                self.abort()  # it doesn't read: a goodbye would only wait behind the rest
                return
            self.on_idle()
            if self.closing:
                return
            if self._loop.time() - self._active >= self.idle_seconds:
                self.touch()
        self._arm_idle()
