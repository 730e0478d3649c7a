"""Listeners: who is let in, under which address, how many, and how they leave."""

import asyncio
import itertools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from mailboat_common import metrics
from mailboat_common.connection import Connection
from mailboat_common.errors import StartupError
from mailboat_common.server import Admission, ConnectionLimits, Listener, ProtocolServer, TlsMode, drain_pause
from mailboat_common.tls import CertificateStore

REFUSAL = b"421 4.7.0 Too many connections\r\n"
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
V4_HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 25\r\n"


class Echo(Connection):
    """Greets with the client's address, echoes lines, says BYE when asked to close."""

    def __init__(self, admission: Admission) -> None:
        super().__init__(admission, idle_seconds=60)

    def on_connected(self) -> None:
        self.write(f"hello {self.peer.address} {self.peer.port} {self.peer.tls}\r\n".encode())

    def on_data(self, data: bytes) -> None:
        self.write(data)

    def request_close(self) -> None:
        self.write(b"BYE\r\n")
        self.close()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def certificates(ca: trustme.CA, tmp_path: Path) -> CertificateStore:
    pair = ca.issue_cert("mail.example.test", "localhost")
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    return CertificateStore(tmp_path)


@pytest.fixture
def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@asynccontextmanager
async def serving(
    *listeners: Listener, factory: Callable[[Admission], Any] = Echo, **options: Any
) -> AsyncIterator[tuple[ProtocolServer, list[int]]]:
    server = ProtocolServer(list(listeners), factory, refusal=REFUSAL, **options)
    await server.start()
    try:
        yield server, list(server.ports().values())
    finally:
        await server.abort()
        assert server.connections == 0


async def connect(
    port: int, host: str = "127.0.0.1", **options: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(10):
        return await asyncio.open_connection(host, port, **options)


async def line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readline()


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """What still came; a reset is an end as well (the server closed with our bytes unread)."""
    received = b""
    try:
        async with asyncio.timeout(10):
            while piece := await reader.read(1000):
                received += piece
    except ConnectionResetError:
        return received
    return received


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until the condition holds; for what the server does on its own."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a counter of the server has no event
            await asyncio.sleep(0)


def rejected(protocol: str, reason: str) -> float:
    return metrics.connections_rejected.labels(protocol, reason)._value.get()  # type: ignore[no-any-return]


async def test_both_families_are_served_and_ipv4_is_shown_as_such() -> None:
    async with serving(Listener("t-dual", 0)) as (server, (port,)):
        for host in ("127.0.0.1", "::1"):
            reader, writer = await connect(port, host)
            own = writer.get_extra_info("sockname")[1]
            assert await line(reader) == f"hello {host} {own} False\r\n".encode()
            writer.write(b"echo\r\n")
            assert await line(reader) == b"echo\r\n"
            writer.close()
        assert server.connections <= 2


async def test_nodelay_is_set_on_accepted_connections() -> None:
    seen: list[int] = []

    class Look(Echo):
        def on_connected(self) -> None:
            client = self._transport.get_extra_info("socket")  # type: ignore[union-attr]
            seen.append(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            super().on_connected()

    async with serving(Listener("t-nodelay", 0), factory=Look) as (_server, (port,)):
        reader, _writer = await connect(port)
        await line(reader)
    assert seen == [1]


async def test_a_port_in_use_is_named_with_its_setting_and_nothing_stays_open() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        port = taken.getsockname()[1]
        server = ProtocolServer([Listener("t", 0), Listener("t", port, setting="MB_IMAP_PORT")], Echo, refusal=REFUSAL)
        with pytest.raises(StartupError, match=rf"port {port} is in use.*MB_IMAP_PORT"):
            await server.start()
        assert server.ports() == {}


async def test_limit_of_an_address_holds_until_one_leaves() -> None:
    listener = Listener("t-address", 0)
    async with serving(listener, limits=ConnectionLimits(per_address=2)) as (server, (port,)):
        first, second = await connect(port), await connect(port)
        assert (await line(first[0])).startswith(b"hello")
        assert (await line(second[0])).startswith(b"hello")
        reader, _writer = await connect(port)
        assert await line(reader) == REFUSAL
        assert await line(reader) == b""
        assert rejected("t-address", "address") == 1
        first[1].close()
        await first[1].wait_closed()
        await until(lambda: server.connections == 1)
        reader, _writer = await connect(port)
        assert (await line(reader)).startswith(b"hello")


async def test_exempt_networks_have_only_the_total() -> None:
    limits = ConnectionLimits(per_address=1, total=3, exempt_networks=LOOPBACK)
    async with serving(Listener("t-total", 0), limits=limits) as (_server, (port,)):
        opened = [await connect(port) for _ in range(3)]
        for reader, _writer in opened:
            assert (await line(reader)).startswith(b"hello")
        reader, _writer = await connect(port)
        assert await line(reader) == REFUSAL
        assert rejected("t-total", "total") == 1


async def test_proxy_header_gives_the_address_that_is_limited() -> None:
    listener = Listener("t-proxy", 0, proxy=True)
    limits = ConnectionLimits(per_address=1)
    async with serving(listener, limits=limits, proxy_networks=LOOPBACK) as (_server, (port,)):
        reader, writer = await connect(port)
        writer.write(V4_HEADER + b"early\r\n")
        assert await line(reader) == b"hello 192.0.2.1 40000 False\r\n"
        assert await line(reader) == b"early\r\n"
        again, other = await connect(port), await connect(port)
        again[1].write(V4_HEADER)
        other[1].write(V4_HEADER.replace(b"192.0.2.1", b"192.0.2.2"))
        assert await line(again[0]) == REFUSAL
        assert await line(other[0]) == b"hello 192.0.2.2 40000 False\r\n"


async def test_ipv6_clients_share_the_limit_of_their_64() -> None:
    listener = Listener("t-proxy6", 0, proxy=True)
    limits = ConnectionLimits(per_address=1)
    async with serving(listener, limits=limits, proxy_networks=LOOPBACK) as (_server, (port,)):
        held = []  # a collected writer would close its connection
        for source, answer in (
            (b"2001:db8::1", b"hello 2001:db8::1 1 False\r\n"),
            (b"2001:db8::2", REFUSAL),
            (b"2001:db8:0:1::1", b"hello 2001:db8:0:1::1 1 False\r\n"),
        ):
            reader, writer = await connect(port)
            held.append(writer)
            writer.write(b"PROXY TCP6 " + source + b" 2001:db8::ffff 1 2\r\n")
            assert await line(reader) == answer


@pytest.mark.parametrize(
    ("networks", "sent", "reason"),
    [
        (LOOPBACK, b"EHLO client.example\r\n", "proxy-header"),
        ((ip_network("10.0.0.0/8"),), V4_HEADER, "proxy-network"),
    ],
)
async def test_proxy_port_takes_only_headers_from_listed_networks(networks: Any, sent: bytes, reason: str) -> None:
    listener = Listener(f"t-{reason}", 0, proxy=True)
    async with serving(listener, proxy_networks=networks) as (server, (port,)):
        reader, writer = await connect(port)
        writer.write(sent)
        assert await read_to_end(reader) == b""
        assert rejected(f"t-{reason}", reason) == 1
        assert server.connections == 0


async def test_a_slow_proxy_header_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat_common.server.PROXY_HEADER_SECONDS", 0.05)
    async with serving(Listener("t-slow", 0, proxy=True), proxy_networks=LOOPBACK) as (_server, (port,)):
        reader, writer = await connect(port)
        writer.write(V4_HEADER[:10])
        assert await line(reader) == b""
        assert rejected("t-slow", "proxy-header") == 1


async def test_proxy_header_comes_before_the_tls_hello(
    certificates: CertificateStore, client_context: ssl.SSLContext
) -> None:
    listener = Listener("t-proxytls", 0, tls=TlsMode.IMPLICIT, proxy=True)
    async with serving(listener, tls=certificates, proxy_networks=LOOPBACK) as (_server, (port,)):
        reader, writer = await connect(port)
        writer.write(V4_HEADER)
        await writer.start_tls(client_context, server_hostname="mail.example.test")
        assert await line(reader) == b"hello 192.0.2.1 40000 True\r\n"


async def test_header_and_hello_in_one_segment(certificates: CertificateStore, client_context: ssl.SSLContext) -> None:
    """The TLS session is run by hand, so that its first flight leaves together with the header."""
    listener = Listener("t-onesegment", 0, tls=TlsMode.IMPLICIT, proxy=True)
    async with serving(listener, tls=certificates, proxy_networks=LOOPBACK) as (_server, (port,)):
        reader, writer = await connect(port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = client_context.wrap_bio(incoming, outgoing, server_hostname="mail.example.test")
        plain, first = b"", V4_HEADER
        async with asyncio.timeout(10):
            while not plain:
                try:
                    plain = session.read(1000)
                except ssl.SSLWantReadError:
                    writer.write(first + outgoing.read())
                    first = b""
                    incoming.write(await reader.read(65536))
        assert plain == b"hello 192.0.2.1 40000 True\r\n"


async def test_implicit_tls(certificates: CertificateStore, client_context: ssl.SSLContext) -> None:
    listener = Listener("t-tls", 0, tls=TlsMode.IMPLICIT)
    async with serving(listener, tls=certificates) as (server, (port,)):
        reader, writer = await connect(port, ssl=client_context, server_hostname="mail.example.test")
        assert (await line(reader)).endswith(b"True\r\n")
        writer.write(b"echo\r\n")
        assert await line(reader) == b"echo\r\n"
        plain, plain_writer = await connect(port)
        plain_writer.write(b"EHLO in clear text\r\n")
        assert not (await read_to_end(plain)).startswith(b"hello")
        await until(lambda: server.connections == 1)
        assert rejected("t-tls", "tls-handshake") == 1


async def test_drain_says_goodbye_to_everyone_and_closes_the_port() -> None:
    async with serving(Listener("t-drain", 0)) as (server, (port,)):
        clients = [await connect(port) for _ in range(20)]
        for reader, _writer in clients:
            assert (await line(reader)).startswith(b"hello")
        await server.drain(asyncio.get_running_loop().time() + 1)
        assert server.connections == 0
        for reader, _writer in clients:
            assert await line(reader) == b"BYE\r\n"
            assert await line(reader) == b""
        with pytest.raises(ConnectionRefusedError):
            await connect(port)


@pytest.mark.parametrize(
    ("sessions", "left", "pause"),
    [
        pytest.param(1, 27.0, 0.25, id="few: four a second"),
        pytest.param(100, 27.0, 0.216, id="many: over four fifths of the time"),
        pytest.param(10_000, 27.0, 0.00216, id="very many"),
        pytest.param(0, 27.0, 0.25, id="none"),
        pytest.param(5, -1.0, 0.0, id="no time left"),
    ],
)
def test_drain_spreads_the_goodbyes(sessions: int, left: float, pause: float) -> None:
    assert drain_pause(sessions, left) == pytest.approx(pause)


async def test_drain_goes_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long each goodbye takes, the next one's time stays."""

    class Slow(Echo):
        def request_close(self) -> None:
            time.sleep(0.01)  # a busy process
            super().request_close()

    async with serving(Listener("t-clock", 0), factory=Slow) as (server, (port,)):
        clients = [await connect(port) for _ in range(5)]
        for reader, _writer in clients:
            assert (await line(reader)).startswith(b"hello")
        instants = []
        wait = server._wait_empty

        async def noted(instant: float) -> None:
            instants.append(instant)
            await wait(instant)

        monkeypatch.setattr(server, "_wait_empty", noted)
        await server.drain(asyncio.get_running_loop().time() + 0.1)
    steps = [after - before for before, after in itertools.pairwise(instants[:5])]
    assert max(steps) - min(steps) < 1e-6


async def test_drain_cuts_off_who_stays() -> None:
    class Stubborn(Echo):
        def request_close(self) -> None:
            self.write(b"not yet\r\n")

    async with serving(Listener("t-stay", 0), factory=Stubborn) as (server, (port,)):
        reader, _writer = await connect(port)
        assert (await line(reader)).startswith(b"hello")
        await server.drain(asyncio.get_running_loop().time() + 0.3)
        assert server.connections == 0
        assert await line(reader) == b"not yet\r\n"
        assert await read_to_end(reader) == b""


async def test_metrics_count_what_is_open() -> None:
    async with serving(Listener("t-metrics", 0)) as (_server, (port,)):
        reader, _writer = await connect(port)
        await line(reader)
        text = metrics.exposition().decode()
        assert 'mailboat_connections{protocol="t-metrics"} 1.0' in text
        assert 'mailboat_connections_total{protocol="t-metrics",tls="none"} 1.0' in text
    assert 'mailboat_connections{protocol="t-metrics"} 0.0' in metrics.exposition().decode()


def test_a_tls_listener_without_certificates_is_a_bug() -> None:
    with pytest.raises(ValueError, match="certificates"):
        ProtocolServer([Listener("t", 0, tls=TlsMode.STARTTLS)], Echo, refusal=REFUSAL)


async def test_without_ipv6_the_listener_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboat_common.sockets._has_ipv6", lambda: False)
    async with serving(Listener("t-v4", 0)) as (server, (port,)):
        reader, _writer = await connect(port)
        assert (await line(reader)).startswith(b"hello 127.0.0.1 ")
        with pytest.raises(ConnectionRefusedError):
            await connect(port, "::1")
        assert server.connections == 1


async def test_listen_host_limits_to_one_address() -> None:
    async with serving(Listener("t-host", 0), host="127.0.0.1") as (_server, (port,)):
        reader, _writer = await connect(port)
        assert (await line(reader)).startswith(b"hello")
        with pytest.raises(ConnectionRefusedError):
            await connect(port, "::1")
