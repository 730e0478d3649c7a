"""A TCP balancer in front of the replicas, which behaves as a cluster's Service does while pods are replaced.

    balancer = Balancer(stack, FRONTS)
    await balancer.start()
    balancer.port("imaps")                   # clients connect there
    balancer.leaves("imap_gateway-1", 2.0)   # told to end: connections still come for two seconds
    balancer.joins("imap_gateway-1")         # ready again

A new connection goes to a random replica that is in service; there is no second try, as there is none in a cluster: a
replica that is sent a connection and doesn't take it has failed its client (`refused`). Each client comes from a loopback
address of its own, as the limits per address expect.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import cast

from mailboat_local.stack import Stack

FRONTS = {
    "smtp": "smtp_ingress",
    "submissions": "smtp_ingress",
    "imaps": "imap_gateway",
    "pop3s": "pop3_gateway",
    "rest": "storage_api",
}
"""The listeners that clients are sent to, and whose they are."""
_FIRST_CLIENT = int(IPv4Address("127.1.0.1"))


class Balancer:
    """One front port for each listener. `refused` names the replicas that didn't take a connection, one entry each."""

    def __init__(self, stack: Stack, fronts: Mapping[str, str] = FRONTS, replicas: int = 2) -> None:
        self.refused: list[str] = []
        self._stack = stack
        self._fronts = dict(fronts)
        self._in_service = {f"{service}-{n}" for service in fronts.values() for n in range(1, replicas + 1)}
        self._ports: dict[str, int] = {}
        self._servers: list[asyncio.Server] = []
        self._joining: set[asyncio.Task[None]] = set()
        self._sides: set[_Side] = set()
        self._clients = itertools.count()

    async def start(self) -> None:
        """Open the front ports."""
        loop = asyncio.get_running_loop()
        for label, service in self._fronts.items():
            make = functools.partial(_Side, functools.partial(self._connect, label, service))
            server = await loop.create_server(make, "127.0.0.1", 0, backlog=2000)
            self._servers.append(server)
            self._ports[label] = server.sockets[0].getsockname()[1]

    def port(self, label: str) -> int:
        """Where clients of a listener connect."""
        return self._ports[label]

    def leaves(self, name: str, seconds: float) -> None:
        """A replica is ending: it is sent nothing any more once that is known everywhere, after so many seconds."""
        asyncio.get_running_loop().call_later(seconds, self._in_service.discard, name)

    def joins(self, name: str) -> None:
        """A replica is ready."""
        self._in_service.add(name)

    def close(self) -> None:
        """Close the ports and every connection."""
        for server in self._servers:
            server.close()
        for side in list(self._sides):
            side.transport.abort()

    def _connect(self, label: str, service: str, client: _Side) -> None:
        task = asyncio.create_task(self._join(label, service, client))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, label: str, service: str, client: _Side) -> None:
        """Connect a client to a replica."""
        name = random.choice(sorted(name for name in self._in_service if name.startswith(f"{service}-")))
        source = str(IPv4Address(_FIRST_CLIENT + next(self._clients)))
        self._sides.add(client)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: _Side(client.join), "127.0.0.1", self._stack.ports(name)[label], local_addr=(source, 0)
            )
        except OSError as error:
            self.refused.append(f"{name}: {error!r}")
            client.transport.abort()


class _Side(asyncio.Protocol):
    """One of a connection's two sides. What came before its end reaches the other, whatever the end was."""

    transport: asyncio.Transport

    def __init__(self, connected: Callable[[_Side], None]) -> None:
        self._connected = connected
        self._other: _Side | None = None
        self._early: list[bytes] = []  # what came before the other side was there

    def join(self, other: _Side) -> None:
        """Both are there."""
        self._other, other._other = other, self
        other.transport.write(b"".join(self._early))
        self._early.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connected(self)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        elif (other := self._there()) is not None:
            other.write(data)

    def eof_received(self) -> bool:
        if (other := self._there()) is not None:
            other.write_eof()
        return True

    def pause_writing(self) -> None:
        if (other := self._there()) is not None:
            other.pause_reading()

    def resume_writing(self) -> None:
        if (other := self._there()) is not None:
            other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if (other := self._there()) is not None:
            other.close()

    def _there(self) -> asyncio.Transport | None:
        """The other side while it is open."""
        if self._other is None or self._other.transport.is_closing():
            return None
        return self._other.transport
