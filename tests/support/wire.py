"""What tests of a protocol server share: a certificate authority, and a client that sees every octet.

A conftest imports the fixtures: `from tests.support.wire import authority_fixture, client_tls_fixture, tls_dir_fixture  # noqa: F401`.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Self

import pytest
import trustme

WAIT_SECONDS = 10


@pytest.fixture(scope="session", name="authority")
def authority_fixture() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session", name="tls_dir")
def tls_dir_fixture(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate for localhost."""
    directory = tmp_path_factory.mktemp("tls")
    pair = authority.issue_cert("localhost", "127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    pair.private_key_pem.write_to_path(directory / "tls.key")
    return directory


@pytest.fixture(scope="session", name="client_tls")
def client_tls_fixture(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def within(event: asyncio.Event) -> None:
    """Wait for an event, not for ever."""
    await asyncio.wait_for(event.wait(), WAIT_SECONDS)


class Wire:
    """A client that sees every octet. Nothing is waited for longer than WAIT_SECONDS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Self:
        """A connection to a port of this machine, over TLS if there is a context."""
        return cls(
            *await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None)
        )

    async def line(self) -> str:
        """One line without its line end."""
        line = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), WAIT_SECONDS)
        return line[:-2].decode()

    async def reply(self) -> str:
        """One reply; a protocol whose replies have several lines overrides it."""
        return await self.line()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def send_in_pieces(self, data: bytes, size: int) -> None:
        """Send, `size` octets a time."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            await self.writer.drain()

    async def say(self, line: str | bytes) -> str:
        """Send a line and wait for its reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.reply()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """The handshake after the server's go-ahead."""
        await self.writer.start_tls(context, server_hostname="localhost")

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await asyncio.wait_for(self.reader.read(), WAIT_SECONDS)

    async def ended(self) -> bool:
        return await self.rest() == b""
