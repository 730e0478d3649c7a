"""A real server in process, on the in-memory store, with a certificate of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from mailboat_common.server import ProtocolServer
from mailboat_common.tls import CertificateStore
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId
from smtp_ingress.main import build_server
from smtp_ingress.session import Service
from smtp_ingress.settings import Settings


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def tls_dir(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    pair = authority.issue_cert("localhost", "127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    pair.private_key_pem.write_to_path(directory / "tls.key")
    return directory


class Wire:
    """A client that sees every octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        """One reply, all its lines, without the last line end."""
        lines = []
        while True:
            line = (await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 10)).decode()
            lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def say(self, line: str | bytes) -> str:
        """Send a line and wait for its reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await asyncio.wait_for(self.reader.read(), 10)

    async def ended(self) -> bool:
        return await self.rest() == b""


@dataclass(slots=True)
class Ingress:
    server: ProtocolServer
    service: Service
    store: MemoryStore
    account: AccountId
    ports: dict[str, int]
    context: ssl.SSLContext

    async def connect(self, name: str = "smtp", *, tls: bool = False) -> Wire:
        """A connection that has read the greeting."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.ports[name],
            ssl=self.context if tls else None,
            server_hostname="localhost" if tls else None,
        )
        wire = Wire(reader, writer)
        assert (await wire.reply()).startswith("220 ")
        return wire

    async def inbox(self, account: AccountId | None = None) -> list[bytes]:
        """All messages of INBOX as stored."""
        account = account or self.account
        head = await self.store.read.head(account, "INBOX")
        rows = (await self.store.read.changes(account, head.mailbox_id, 0)).changed
        ids = [rows.body_id(i) for i in range(len(rows))]
        return [c for c in await self.store.read.contents(account, ids, 1 << 40) if c is not None] if ids else []


Start = Callable[..., "asyncio.Future[Ingress]"]


@pytest.fixture
async def start(tls_dir: Path, authority: trustme.CA, tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(setting=value, ...)` gives a running ingress with alice@example.test (password "secret-enough")."""
    token = tmp_path / "token"
    token.write_text("t")
    running: list[ProtocolServer] = []

    async def make(**changes: object) -> Ingress:
        values: dict[str, object] = {
            "tls_dir": str(tls_dir),
            "internal_token_file": str(token),
            "hostname": "mx.example.test",
            **changes,
        }
        settings = Settings(**values)
        store = MemoryStore()
        account = store.add_account("alice@example.test", "secret-enough")
        service = Service(settings, store)
        server = build_server(settings, service, CertificateStore(tls_dir), any_port=True)
        await server.start()
        running.append(server)
        ports = {listener.name: port for listener, port in server.ports().items()}
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return Ingress(server, service, store, account, ports, context)

    yield make  # type: ignore[misc]
    for server in running:
        await server.abort()


@pytest.fixture
async def ingress(start: Start) -> Ingress:
    return await start()
