"""An IMAP gateway in this process, on the in-memory store: for the gateway's unit tests and the transcripts.

async with imap_gateway() as running:
    running.store.add_account("alice@example.test", "secret")
    client = await running.connect()
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from imap_gateway.commands import load as commands
from imap_gateway.connection import ImapConnection
from imap_gateway.gateway import Gateway
from imap_gateway.policy import Policy
from imap_gateway.views import Views
from mailboat_common.server import Admission, Listener, ProtocolServer, TlsMode
from mailboat_common.tls import CertificateStore
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId

assert commands, "imported so that every command is registered"

ALICE = "alice@example.test"
PASSWORD = "correct horse"
TEST_POLICY = Policy(auth_require_tls=False, auth_failure_seconds=0.0)


class MemoryNews:
    """News of the in-memory store: always there, unless a test says otherwise."""

    def __init__(self) -> None:
        self.connected = True
        self.followed: dict[AccountId, int] = {}

    async def subscribe(self, account_id: AccountId) -> None:
        self.followed[account_id] = self.followed.get(account_id, 0) + 1

    async def unsubscribe(self, account_id: AccountId) -> None:
        self.followed[account_id] -= 1


class Client:
    """A line-minded IMAP client for tests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._tags = itertools.count(1)

    async def response(self) -> bytes:
        """The next response with its literals, without the last CRLF. b"" at the connection's end."""
        whole = await self.reader.readline()
        while whole.endswith(b"}\r\n") and (size := whole[whole.rindex(b"{") + 1 : -3]).isdigit():
            whole += await self.reader.readexactly(int(size))
            whole += await self.reader.readline()
        return whole.removesuffix(b"\r\n")

    async def until(self, start: bytes) -> list[bytes]:
        """Responses up to and with the first that begins so (or the connection's end)."""
        lines = []
        while True:
            lines.append(await self.response())
            if lines[-1].startswith(start) or not lines[-1]:
                return lines

    async def command(self, text: bytes | str) -> list[bytes]:
        """All responses to a command; the last is the tagged one."""
        tag = b"t%d" % next(self._tags)
        self.send(tag + b" " + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        return await self.until(tag + b" ")

    async def ok(self, text: bytes | str) -> list[bytes]:
        """The untagged responses of a command that must succeed."""
        *lines, last = await self.command(text)
        assert b" OK" in last, (text, last)
        return lines

    async def login(self, address: str = ALICE, password: str = PASSWORD) -> None:
        await self.ok(f'LOGIN {address} "{password}"')

    async def append(self, mailbox: str, message: bytes, flags: str = "") -> bytes:
        """APPEND with a non-synchronising literal; the tagged reply."""
        return (
            await self.command(
                b"APPEND %b (%b) {%d+}\r\n%b" % (mailbox.encode(), flags.encode(), len(message), message)
            )
        )[-1]

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def close(self) -> None:
        self.writer.close()


@dataclass
class Running:
    """A gateway with its listeners' ports, and a second gateway on the same store ("another pod")."""

    store: MemoryStore
    gateway: Gateway
    server: ProtocolServer
    news: MemoryNews
    clients: list[Client] = field(default_factory=list)

    @property
    def port(self) -> int:
        return next(iter(self.server.ports().values()))

    async def connect(self, *, greeting: bool = True) -> Client:
        """A new connection, its greeting read."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        if greeting:
            assert (await client.response()).startswith(b"* OK")
        return client

    async def session(self, select: str = "") -> Client:
        """A new connection, logged in as alice, with a mailbox selected if one is named."""
        client = await self.connect()
        await client.login()
        if select:
            await client.ok(f"SELECT {select}")
        return client


@asynccontextmanager
async def imap_gateway(
    store: MemoryStore | None = None,
    policy: Policy = TEST_POLICY,
    tls: CertificateStore | None = None,
    *,
    hear_news: bool = True,
) -> AsyncIterator[Running]:
    """A running gateway; without a store it gets its own with alice in it."""
    if store is None:
        store = MemoryStore()
        store.add_account(ALICE, PASSWORD)
    news = MemoryNews()
    views = Views(store.read, policy)
    gateway = Gateway(store, news, views, policy)
    silence = store.subscribe(views.on_news) if hear_news else None
    listener = Listener("imap", 0, TlsMode.STARTTLS if tls else TlsMode.NONE)

    def connect(admission: Admission) -> ImapConnection:
        return ImapConnection(gateway, admission, tls)

    server = ProtocolServer([listener], connect, refusal=b"* BYE Too many\r\n", host="127.0.0.1", tls=tls)
    await server.start()
    running = Running(store, gateway, server, news)
    try:
        yield running
    finally:
        for client in running.clients:
            await client.close()
        await server.abort()
        if silence is not None:
            silence()
