"""A real server in process, on the in-memory store, with a certificate of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from mailboat_common.server import ProtocolServer
from mailboat_common.tls import CertificateStore
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId
from smtp_ingress.main import build_server
from smtp_ingress.session import Service
from smtp_ingress.settings import Settings

from tests.support.wire import Wire, authority_fixture, client_tls_fixture, tls_dir_fixture  # noqa: F401


class SmtpWire(Wire):
    """A client of the ingress."""

    async def reply(self) -> str:
        """One reply, all its lines, without the last line end."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return "\n".join(lines)


@dataclass(slots=True)
class Ingress:
    server: ProtocolServer
    service: Service
    store: MemoryStore
    account: AccountId
    ports: dict[str, int]
    context: ssl.SSLContext

    async def connect(self, name: str = "smtp", *, tls: bool = False) -> SmtpWire:
        """A connection that has read the greeting."""
        wire = await SmtpWire.connect(self.ports[name], self.context if tls else None)
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
async def start(tls_dir: Path, client_tls: ssl.SSLContext, tmp_path: Path) -> AsyncIterator[Start]:
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
        return Ingress(server, service, store, account, ports, client_tls)

    yield make  # type: ignore[misc]
    for server in running:
        await server.abort()


@pytest.fixture
async def ingress(start: Start) -> Ingress:
    return await start()
