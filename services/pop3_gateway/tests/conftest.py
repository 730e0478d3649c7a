"""A real POP3 server in process, on the in-memory store, with a certificate of its own."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from mailboat_common.lifecycle import Lifecycle
from mailboat_common.server import ProtocolServer
from mailboat_common.tls import CertificateStore
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.memory.state import Account
from mailboat_store_client.types import AccountId, AppendMessage
from pop3_gateway.gateway import Gateway
from pop3_gateway.main import build_server, serve
from pop3_gateway.settings import Settings

from tests.support.wire import WAIT_SECONDS, Wire, authority_fixture, client_tls_fixture, tls_dir_fixture  # noqa: F401

LOGIN = "alice@example.test"
PASSWORD = "secret-enough"
MESSAGES = (b"Subject: one\r\n\r\n1\r\n", b"Subject: two\r\n\r\n.22\r\n..\r\n", b"Subject: three\r\n\r\n333")


class Pop3Wire(Wire):
    """A client of the gateway."""

    async def listing(self, command: str) -> list[str]:
        """The lines of a multi-line answer, dots taken off, without the first and the last."""
        first = await self.say(command)
        assert first.startswith("+OK"), first
        lines = []
        while (line := await self.line()) != ".":
            lines.append(line.removeprefix("."))
        return lines

    async def retrieve(self, number: int) -> bytes:
        """A message as it was sent, with its last line ended."""
        return "".join(line + "\r\n" for line in await self.listing(f"RETR {number}")).encode()

    async def login(self, login: str = LOGIN, password: str = PASSWORD) -> str:
        assert await self.say(f"USER {login}") == "+OK Send PASS"
        return await self.say(f"PASS {password}")


@dataclass(slots=True)
class Pop3:
    server: ProtocolServer
    gateway: Gateway
    store: MemoryStore
    account_id: AccountId
    ports: dict[str, int]
    context: ssl.SSLContext

    @property
    def account(self) -> Account:
        """Alice's account inside the fake."""
        return self.store.accounts[self.account_id]

    async def connect(self, name: str = "pop3s") -> Pop3Wire:
        """A connection that has read the greeting."""
        wire = await Pop3Wire.connect(self.ports[name], self.context if name == "pop3s" else None)
        assert await wire.line() == "+OK Mailboat POP3 ready"
        return wire

    async def logged_in(self) -> Pop3Wire:
        """A connection in the TRANSACTION state."""
        wire = await self.connect()
        assert (await wire.login()).startswith("+OK ")
        return wire

    async def serve(self, life: Lifecycle) -> dict[str, int]:
        """Further ports of the same gateway, opened as the process opens them."""
        server = await serve(life, self.gateway, CertificateStore(self.gateway.settings.tls_dir), any_port=True)
        return {listener.name: port for listener, port in server.ports().items()}

    async def fill(self, messages: Sequence[bytes] = MESSAGES) -> None:
        """Put messages into INBOX."""
        appended = [AppendMessage(message) for message in messages]
        await self.store.write.append(self.account_id, "INBOX", appended, key=os.urandom(16))

    async def inbox(self) -> list[int]:
        """UIDs of INBOX."""
        head = await self.store.read.head(self.account_id, "INBOX")
        return list((await self.store.read.changes(self.account_id, head.mailbox_id, 0)).changed.uids)

    def released(self) -> asyncio.Event:
        """An event that is set when a lease is given back."""
        event, release = asyncio.Event(), self.store.write.release_maildrop

        async def told(account_id: AccountId, token: bytes) -> None:
            await release(account_id, token)
            event.set()

        self.store.write.release_maildrop = told  # type: ignore[method-assign]
        return event


Start = Callable[..., Awaitable[Pop3]]


@pytest.fixture
async def start(tls_dir: Path, client_tls: ssl.SSLContext, tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(setting=value, ...)` gives a running gateway with alice@example.test and three messages."""
    token = tmp_path / "token"
    token.write_text("t")
    running: list[Pop3] = []

    async def make(**changes: object) -> Pop3:
        values: dict[str, object] = {"tls_dir": str(tls_dir), "internal_token_file": str(token), **changes}
        store = MemoryStore()
        account_id = store.add_account(LOGIN, PASSWORD)
        certificates = CertificateStore(tls_dir)
        gateway = Gateway(Settings(**values), store, certificates.server_context())
        server = build_server(gateway, certificates, any_port=True)
        await server.start()
        ports = {listener.name: port for listener, port in server.ports().items()}
        running.append(Pop3(server, gateway, store, account_id, ports, client_tls))
        await running[-1].fill()
        return running[-1]

    yield make
    for pop3 in running:
        await pop3.server.abort()
        await asyncio.wait_for(pop3.gateway.finish(), WAIT_SECONDS)


@pytest.fixture
async def pop3(start: Start) -> Pop3:
    return await start()
