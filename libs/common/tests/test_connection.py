"""The connection below every protocol: joined writes, back-pressure, idle time, closing, STARTTLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import trustme
from mailboat_common.connection import Connection
from mailboat_common.errors import PeerError
from mailboat_common.server import Admission, Listener, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore


class Lines(Connection):
    """A toy session: STARTTLS, echo for the rest; records what happens to it."""

    certificates: CertificateStore | None = None

    def __init__(self, admission: Admission, idle_seconds: float = 60.0) -> None:
        super().__init__(admission, idle_seconds=idle_seconds)
        self.buffer = b""
        self.seen: list[bytes] = []
        self.faults: list[Exception] = []
        self.ended = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def on_data(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n" in self.buffer:
            command, _, self.buffer = self.buffer.partition(b"\r\n")
            self.seen.append(command)
            if command == b"STARTTLS":
                self.tasks.append(asyncio.create_task(self.upgrade()))
                return
            self.write(b"echo " + command + b"\r\n")

    def take_pending(self) -> bytes:
        pending, self.buffer = self.buffer, b""
        return pending

    async def upgrade(self) -> None:
        assert self.certificates is not None
        try:
            await self.start_tls(self.certificates.server_context(), b"OK begin\r\n", self.take_pending)
        except PeerError as error:
            self.faults.append(error)
            self.write(b"BAD " + error.public.encode() + b"\r\n")
            self.close()
        except ConnectionError as error:
            self.faults.append(error)

    def on_lost(self, error: Exception | None) -> None:
        self.ended.set()


@asynccontextmanager
async def session(
    make: Callable[[Admission], Lines] = Lines, tls: CertificateStore | None = None
) -> AsyncIterator[tuple[Callable[[], Lines], asyncio.StreamReader, asyncio.StreamWriter]]:
    made: list[Lines] = []

    def factory(admission: Admission) -> Lines:
        connection = make(admission)
        connection.certificates = tls
        made.append(connection)
        return connection

    mode = TlsMode.STARTTLS if tls else TlsMode.NONE
    server = ProtocolServer([Listener("t-connection", 0, tls=mode)], factory, refusal=b"", tls=tls)
    await server.start()
    (port,) = server.ports().values()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\r\n")
    assert await reader.readline() == b"echo hello\r\n"
    try:
        yield lambda: made[0], reader, writer
    finally:
        writer.close()
        await server.abort()


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def certificates(ca: trustme.CA, tmp_path: Path) -> CertificateStore:
    pair = ca.issue_cert("localhost")
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    return CertificateStore(tmp_path)


async def test_writes_of_a_turn_leave_as_one() -> None:
    async with session() as (connection, reader, _writer):
        for number in range(1000):
            connection().write(b"%04d\r\n" % number)
        assert len(connection()._output) == 1000
        received = await reader.readexactly(6000)
        assert received == b"".join(b"%04d\r\n" % number for number in range(1000))
        connection().write(b"x" * 100_000)
        assert connection()._output == []
        assert await reader.readexactly(100_000) == b"x" * 100_000


async def test_drain_waits_for_a_slow_reader_and_memory_stays_bounded() -> None:
    async with session() as (connection, reader, _writer):
        chunk = b"x" * 65536
        written = 0

        async def produce() -> None:
            nonlocal written
            for _ in range(800):
                connection().write(chunk)
                written += 1
                await connection().drain()

        task = asyncio.create_task(produce())
        before = -1
        async with asyncio.timeout(20):
            while written != before or written == 0:
                before = written
                await asyncio.sleep(0.05)
        assert not task.done()
        assert written < 800
        async with asyncio.timeout(20):
            await reader.readexactly(800 * 65536)
            await task


async def test_drain_ends_when_the_client_goes() -> None:
    async with session() as (connection, _reader, writer):

        async def produce() -> None:
            while True:
                connection().write(b"x" * 65536)
                await connection().drain()

        task = asyncio.create_task(produce())
        async with asyncio.timeout(10):
            while not connection()._write_paused:  # noqa: ASYNC110 - the transport's doing
                await asyncio.sleep(0)
            writer.transport.abort()
            with pytest.raises(ConnectionResetError):
                await task


async def test_idle_client_is_closed_and_activity_counts() -> None:
    started = asyncio.get_running_loop().time()
    async with session(lambda admission: Lines(admission, idle_seconds=0.3)) as (_connection, reader, writer):
        for _ in range(3):
            await asyncio.sleep(0.15)
            writer.write(b"still here\r\n")
            assert await reader.readline() == b"echo still here\r\n"
        async with asyncio.timeout(10):
            assert await reader.read() == b""
    assert asyncio.get_running_loop().time() - started >= 0.7


async def test_on_idle_may_grant_more_time() -> None:
    asked = asyncio.Event()

    class Patient(Lines):
        def on_idle(self) -> None:
            self.touch()
            asked.set()

    async with session(lambda admission: Patient(admission, idle_seconds=0.05)) as (connection, reader, writer):
        async with asyncio.timeout(10):
            await asked.wait()
        assert not connection().closing
        writer.write(b"hi\r\n")
        assert await reader.readline() == b"echo hi\r\n"


async def test_a_client_that_reads_nothing_is_cut_off_after_the_idle_time() -> None:
    async with session() as (connection, _reader, writer):
        cast(asyncio.Transport, writer.transport).pause_reading()
        async with asyncio.timeout(10):
            while not connection()._write_paused:
                connection().write(b"x" * 65536)
                await asyncio.sleep(0)
            connection().set_idle_seconds(0.1)
            await connection().ended.wait()


async def test_close_sends_what_is_queued() -> None:
    async with session() as (connection, reader, _writer):
        connection().write(b"x" * 1_000_000)
        connection().write(b"bye\r\n")
        connection().close()
        received = await reader.read()
        assert len(received) == 1_000_005
        assert received.endswith(b"bye\r\n")
        connection().write(b"after the end")
        async with asyncio.timeout(10):
            await connection().ended.wait()


async def test_end_of_input_closes_after_the_answer() -> None:
    async with session() as (connection, reader, writer):
        writer.write(b"last\r\n")
        writer.write_eof()
        assert await reader.read() == b"echo last\r\n"
        await connection().ended.wait()


async def test_starttls(certificates: CertificateStore, ca: trustme.CA) -> None:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    async with session(tls=certificates) as (connection, reader, writer):
        assert connection().tls_version is None
        writer.write(b"STARTTLS\r\n")
        assert await reader.readline() == b"OK begin\r\n"
        await writer.start_tls(context, server_hostname="localhost")
        writer.write(b"secret\r\n")
        assert await reader.readline() == b"echo secret\r\n"
        assert connection().peer.tls
        assert connection().tls_version == "TLSv1.3"
        for _ in range(100):
            connection().write(b"y" * 65536)
            await connection().drain()
            assert await reader.readexactly(65536) == b"y" * 65536


async def test_input_behind_starttls_in_the_same_segment_is_refused(certificates: CertificateStore) -> None:
    async with session(tls=certificates) as (connection, reader, writer):
        writer.write(b"STARTTLS\r\ninjected\r\n")
        assert await reader.readline() == b"BAD Input after STARTTLS before TLS\r\n"
        async with asyncio.timeout(10):
            await connection().ended.wait()
        assert b"injected" not in connection().seen
        assert not connection().peer.tls


async def test_input_behind_starttls_in_a_later_segment_fails_the_handshake(certificates: CertificateStore) -> None:
    async with session(tls=certificates) as (connection, reader, writer):
        writer.write(b"STARTTLS\r\n")
        assert await reader.readline() == b"OK begin\r\n"
        writer.write(b"injected\r\n")
        async with asyncio.timeout(10):
            await connection().ended.wait()
            await connection().tasks[0]
        assert connection().seen == [b"hello", b"STARTTLS"]
        assert isinstance(connection().faults[0], ConnectionAbortedError)
        assert not connection().peer.tls


async def test_reading_can_be_paused() -> None:
    async with session() as (connection, reader, writer):
        connection().pause_reading()
        writer.write(b"waits\r\n")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readline()
        connection().resume_reading()
        assert await reader.readline() == b"echo waits\r\n"
