"""Any store served through the real internal application and called through the real HTTP client.

    async with over_http(MemoryStore()) as store: ...

`served` gives the server alone, for tests that speak HTTP themselves.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mailboat_common.asgi import AsgiApp, AsgiServer
from mailboat_common.config import SecretFile
from mailboat_common.sockets import listening_socket
from mailboat_store_client.http import HttpStore
from mailboat_store_client.ports import MailboxWrite, Store
from storage_api.internal import callers
from storage_api.internal.app import InternalApp

EVERYTHING = "imap_gateway"


@dataclass(slots=True)
class Served:
    """A running internal application. `ready` may be changed by the test."""

    url: str
    tokens: dict[str, str]
    token_file: Path
    app: InternalApp
    ready: bool = True


@asynccontextmanager
async def served(store: Store, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> AsyncIterator[Served]:
    """Serves `store` on loopback; every caller has a token of its own."""
    with TemporaryDirectory() as directory:
        tokens = {caller: f"token-of-{caller}-0123456789" for caller in callers.ALLOWED}
        token_file = Path(directory) / "tokens.json"
        token_file.write_text(json.dumps({caller: [token] for caller, token in tokens.items()}))
        known = callers.Callers(SecretFile(token_file))
        app = InternalApp(store, known, ready=lambda: running.ready, **options)
        async with serving(app, host=host, port=port) as url:
            running = Served(url, tokens, token_file, app)
            yield running


@asynccontextmanager
async def serving(app: AsgiApp, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Any ASGI application on loopback; gives its URL."""
    server = AsgiServer(app, listening_socket(host, port, "MB_INTERNAL_PORT"))
    await server.start()
    try:
        yield f"http://{host}:{server.port}"
    finally:
        await server.stop()


class SplitStore:
    """One store as the gateways' callers together see it: each port called with a token that may call it."""

    def __init__(self, urls: list[str], tokens: dict[str, str], call_seconds: float = 5.0) -> None:
        def token_of(caller: str) -> Callable[[], str]:
            return lambda: tokens[caller]

        self._stores = {caller: HttpStore(urls, token_of(caller), call_seconds=call_seconds) for caller in tokens}
        self.directory = self._stores["smtp_ingress"].directory
        self.read = self._stores["imap_gateway"].read
        self.write = _Write(self._stores["imap_gateway"].write, self._stores["pop3_gateway"].write)
        self.delivery = self._stores["smtp_ingress"].delivery
        self.trace = self._stores["imap_gateway"].trace

    async def start(self) -> None:
        for store in self._stores.values():
            await store.start()

    async def ready(self) -> bool:
        return await self._stores["imap_gateway"].ready()

    async def close(self) -> None:
        for store in self._stores.values():
            await store.close()


class _Write:
    """MailboxWrite of IMAP with the maildrop calls of POP3."""

    def __init__(self, imap: MailboxWrite, pop3: MailboxWrite) -> None:
        self._imap, self._pop3 = imap, pop3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pop3 if name.endswith("_maildrop") else self._imap, name)


@asynccontextmanager
async def over_http(store: Store, **options: Any) -> AsyncIterator[SplitStore]:
    """`store` behind HTTP."""
    async with served(store, **options) as running:
        client = SplitStore([running.url], running.tokens)
        await client.start()
        try:
            yield client
        finally:
            await client.close()
