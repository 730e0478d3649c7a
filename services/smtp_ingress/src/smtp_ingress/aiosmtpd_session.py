"""The one file that knows aiosmtpd: its protocol class carries our sessions.

aiosmtpd gives the connection's task, stream reader and writer, and timeouts. Its command handling is replaced whole,
because the stock one sends exception text to clients, refuses `MAIL FROM:<>`, takes bare LF as a line end, reads a
message line by line into a list, logs every line, and starts TLS in a way that does not work on uvloop.

Rules: replies to pipelined commands go out in one write. Bytes that came in clear text behind STARTTLS are thrown away
(RFC 3207 6). A session is told to end (421) only between commands and transactions. Lines end in CRLF, nothing else.
A client that drips is as idle as one that is silent: a command has its time as a whole, and of a message PACE_BYTES
must come in each DATA_SECONDS, because what has come counts against the budget that all sessions share.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from aiosmtpd.smtp import SMTP
from mailboat_common.connection import start_tls
from mailboat_common.log import get_logger
from mailboat_common.server import Admission, ServedProtocol
from mailboat_common.turn import Turn
from mailboat_wire.smtp import DataFault, DataReader

from . import metrics
from . import reply as replies
from .acceptance import accept
from .reply import Next, Reply
from .session import Service, Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable

log = get_logger(__name__)

MAX_LINE = 12288  # RFC 4954 4: AUTH responses of up to 12288 octets
READ_BYTES = 65536
COMMAND_SECONDS = 300.0  # RFC 5321 4.5.3.2.7
SILENT_SECONDS = 0.5
DATA_SECONDS = 180.0  # RFC 5321 4.5.3.2.5, for each PACE_BYTES
PACE_BYTES = 64 * 1024
_BARE_LINE_END = replies.reply(550, "5.6.0", "Message holds a bare CR or LF")
_NUL = replies.reply(550, "5.6.0", "Message holds a NUL")
_NO_TRANSACTION = replies.reply(503, "5.5.1", "Need MAIL and RCPT first")
_CHUNK_OK = replies.reply(250, "2.0.0", "Chunk received")


class _TlsLayer:
    """What aiosmtpd's connection_made asks of the TLS layer after STARTTLS."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._extra = {"ssl_object": transport.get_extra_info("ssl_object")}


class AiosmtpdSession(SMTP, ServedProtocol):
    """One connection: reads lines and data for a `Session`, writes its replies."""

    line_length_limit = READ_BYTES

    def __init__(self, service: Service, admission: Admission, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            None,
            hostname=service.settings.hostname,
            timeout=COMMAND_SECONDS,
            enable_SMTPUTF8=True,
            loop=asyncio.get_running_loop(),
            data_size_limit=None,
        )
        self._admission = admission
        self._tls = tls
        self._input = bytearray()
        self._output: list[bytes] = []
        self._early: list[bytes] | None = None
        self._busy = False
        self._closing = False
        self._paced = 0  # octets of a message since its time began
        self.smtp = Session(service, admission.peer)

    @property
    def _stream(self) -> asyncio.Transport | None:
        """aiosmtpd's transport as what it is (uvloop's is no subclass of asyncio's)."""
        return cast("asyncio.Transport | None", self.transport)

    # -- the connection's life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.smtp.tls = _tls_text(transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Octets decrypted while the handshake ends belong behind what aiosmtpd throws away then."""
        if self._early is not None:
            self._early.append(data)
        else:
            super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._admission.release()
        self.smtp.end_transaction()
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """The client has sent its last octet; what it asked for is still answered."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return not self.smtp.tls  # TLS can't stay half open

    def request_close(self) -> None:
        """Says 421 at the next moment without a transaction or AUTH dialog, now if there is none."""
        self._closing = True
        if not self._busy and self._between_commands and self.transport is not None:
            self._end(replies.SHUTDOWN)

    def abort(self) -> None:
        """Closes at once."""
        if self._stream is not None:
            self._stream.abort()

    def _timeout_cb(self) -> None:
        self._end(replies.IDLE)

    def _end(self, last: Reply) -> None:
        if self._stream is not None:
            self._stream.write(last.data)
            self._stream.close()

    # -- lines

    async def _handle_client(self) -> None:
        try:
            self._say(self.smtp.greeting())
            turn = Turn()
            while await self._turn():
                if turn.over:
                    await turn.pass_on()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.debug("connection ended", client=self.smtp.client, cause=repr(error))
        except Exception:
            log.exception("session failed", client=self.smtp.client)
            self._say(replies.INTERNAL)
        finally:
            self._flush()
            if self.transport is not None:
                self.transport.close()
            await asyncio.shield(self.smtp.say_confirmed())

    async def _turn(self) -> bool:
        """Read one line, act on it; False when the session is over."""
        line = await self._line()
        if line is None:
            self._say(self.smtp.erred(replies.LINE_TOO_LONG))
            return not self._over()
        self._busy = True
        try:
            dialog = self.smtp.dialog is not None
            answer = await (self.smtp.dialog_line(line) if dialog else self.smtp.command(line))
            while True:
                self._say(answer)
                if answer.next is Next.DATA:
                    answer = await self._data()
                elif answer.next is Next.CHUNK:
                    answer = await self._chunk(answer.size, last=answer.last)
                elif answer.next is Next.STARTTLS:
                    await self._start_tls()
                    return True
                else:
                    break
        finally:
            self._busy = False
        return answer.next is not Next.CLOSE and not self._over()

    @property
    def _between_commands(self) -> bool:
        return self.smtp.transaction is None and self.smtp.dialog is None

    def _over(self) -> bool:
        if self._closing and self._between_commands:
            self._say(replies.SHUTDOWN)
            return True
        return self.smtp.errors >= replies.MAX_ERRORS

    async def _line(self) -> bytes | None:
        """The next line without its CRLF; None for one that is too long, which is skipped.

        Waiting for input sends the replies that are due.
        """
        skipped = waited = False
        while (end := self._input.find(b"\n")) < 0:
            if not waited and not self._holds_octets():
                self._reset_timeout(COMMAND_SECONDS)
            waited = True
            if len(self._input) > MAX_LINE:
                self._input.clear()
                skipped = True
            await self._more()
        line = bytes(self._input[: end + 1])
        del self._input[: end + 1]
        if skipped or end > MAX_LINE:
            return None
        return line[:-2] if line.endswith(b"\r\n") else line  # with the bare LF in it the session refuses it

    async def _more(self) -> None:
        self._flush()
        await self._writer.drain()
        data = await self._read()
        if not data:
            raise ConnectionResetError("closed by the client")
        self._input += data

    async def _more_of_message(self) -> None:
        """`_more`, for which the time begins anew with each PACE_BYTES."""
        await self._more()
        self._paced += len(self._input)
        if self._paced >= PACE_BYTES:
            self._begin_pace()

    def _begin_pace(self) -> None:
        self._paced = 0
        self._reset_timeout(DATA_SECONDS)

    def _holds_octets(self) -> bool:
        """Whether a message has begun to come, so that its pace counts and not the time of a command."""
        return self.smtp.transaction is not None and self.smtp.transaction.size > 0

    async def _keep(self, adding: Awaitable[None]) -> None:
        """Let the transaction take octets; what it waits for room isn't the client's time."""
        start = time.perf_counter()
        await adding
        if time.perf_counter() - start > 1.0:
            self._begin_pace()

    async def _read(self) -> bytes:
        """What the client sends next. Confirmations that no delivery carries go out when it is silent for a moment."""
        if not self.smtp.confirmed:
            return await self._reader.read(READ_BYTES)
        reading = asyncio.ensure_future(self._reader.read(READ_BYTES))
        try:
            await asyncio.wait((reading,), timeout=SILENT_SECONDS)
            if not reading.done():
                await self.smtp.say_confirmed()
            return await reading
        finally:
            reading.cancel()

    def _say(self, answer: Reply) -> None:
        if answer.data:
            self._output.append(answer.data)

    def _flush(self) -> None:
        if self._output and self._stream is not None:
            self._stream.write(b"".join(self._output))
        self._output.clear()

    # -- messages

    async def _data(self) -> Reply:
        """Read up to CRLF.CRLF, whatever becomes of the message."""
        transaction = self.smtp.transaction
        assert transaction is not None
        transaction.data = self.smtp.moments.now()
        reader = DataReader()
        start = time.perf_counter()
        self._begin_pace()
        while True:
            if self._input:
                await self._keep(transaction.add(reader.feed(bytes(self._input))))
                self._input.clear()
                if reader.fault is DataFault.BARE_LINE_END and transaction.fault is None:
                    transaction.refuse(_BARE_LINE_END)
            if reader.done:
                break
            await self._more_of_message()
        self._input += reader.rest
        return await self._finish(start)

    async def _chunk(self, size: int, *, last: bool) -> Reply:
        """Read one BDAT chunk of exactly `size` octets, whatever becomes of it."""
        transaction = self.smtp.transaction
        if transaction is not None and not transaction.data:
            transaction.data = self.smtp.moments.now()
        start = time.perf_counter()
        left = size
        if not self._holds_octets():
            self._begin_pace()
        while left:
            if not self._input:
                await self._more_of_message()
            piece = bytes(self._input[:left])
            del self._input[: len(piece)]
            left -= len(piece)
            if transaction is not None and transaction.recipients:
                await self._keep(transaction.add_chunk(piece))
        if transaction is None or not transaction.recipients:
            self.smtp.end_transaction()
            return self.smtp.erred(_NO_TRANSACTION)
        if not last:
            if transaction.fault is not None:
                answer = transaction.fault
                self.smtp.end_transaction()
                return answer
            return _CHUNK_OK
        if transaction.bare_line_end():
            transaction.refuse(_BARE_LINE_END)
        return await self._finish(start)

    async def _finish(self, start: float) -> Reply:
        transaction = self.smtp.transaction
        assert transaction is not None
        metrics.duration.labels("receive").observe(time.perf_counter() - start)
        transaction.data_end = self.smtp.moments.now()
        if transaction.fault is None and b"\0" in transaction.content():
            transaction.refuse(_NUL)
        self._reset_timeout(COMMAND_SECONDS)
        return await accept(self.smtp, transaction)

    # -- TLS

    async def _start_tls(self) -> None:
        assert self._tls is not None
        plain = self._stream
        assert plain is not None
        plain.pause_reading()
        self._flush()
        self._input.clear()
        self._original_transport = plain
        self._early = []
        secure = await start_tls(plain, self, self._tls)
        self._tls_protocol = cast("Any", _TlsLayer(secure))
        self.connection_made(secure)  # aiosmtpd swaps the transports and clears what was read in clear text
        early, self._early = self._early, None
        for data in early:
            self.data_received(data)
        self.smtp.secured(_tls_text(secure))


def _tls_text(transport: asyncio.BaseTransport) -> str:
    """ "TLSv1.3 TLS_AES_256_GCM_SHA384", empty for clear text."""
    layer = transport.get_extra_info("ssl_object")
    if layer is None:
        return ""
    cipher = layer.cipher()
    return f"{layer.version()} {cipher[0] if cipher else ''}".strip()
