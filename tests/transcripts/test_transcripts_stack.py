"""Every transcript against the real stack: two gateways, two storage services, MongoDB, RabbitMQ, TLS.

The first and third connection go to one gateway, the second to the other.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack

from tests.support.imap import Client
from tests.transcripts.player import Player

pytestmark = pytest.mark.stack

FILES = sorted(Path(__file__).parent.glob("*.txt"))
PASSWORD = "a transcript's password"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of two replicas in a directory of its own, with the domain of the accounts."""
    services = ("storage_api", "storage_worker", "imap_gateway")
    directory = tmp_path_factory.mktemp("transcripts") / "stack"
    running = Stack(directory, port_offset=free_offset(replicas=2), replicas=2, only=services)
    try:
        running.up()
        rest(running, "/v1/domains", {"name": "example.test"})
        yield running
    finally:
        running.down()


def rest(stack: Stack, path: str, body: object) -> None:
    """One POST to the REST API."""
    headers = {"Authorization": f"Bearer {stack.env['MB_API_TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(stack.api_url + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_transcript_on_the_stack(stack: Stack, path: Path) -> None:
    user = f"{path.stem}@example.test"
    await asyncio.to_thread(rest, stack, "/v1/accounts", {"address": user, "password": PASSWORD})
    tls = ssl.create_default_context(cafile=str(stack.layout.ca))
    ports = [stack.ports(f"imap_gateway-{pod}")["imaps"] for pod in (1, 2)]

    async def connect(number: int) -> Client:
        port = ports[(number - 1) % 2]
        client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost"))
        assert (await client.response()).startswith(b"* OK")
        return client

    await Player(connect, user, PASSWORD).play(path)
