"""A name whose processes have moved: calls find the new address soon, with few lookups, whatever the resolver does.

All processes have one port, on different loopback addresses, as pods behind one name do.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from mailboat_common.asgi import AsgiServer, Receive, Scope, Send, respond
from mailboat_common.errors import Unavailable
from mailboat_common.sockets import listening_socket
from mailboat_store_client import balance
from mailboat_store_client import channel as channel_module
from mailboat_store_client.balance import Balancer
from mailboat_store_client.channel import LOOK_SECONDS, WAKE_SECONDS, Channel

OLD, NEW = "127.0.0.1", "127.0.0.2"
SOON = LOOK_SECONDS + WAKE_SECONDS + 0.8  # the machine may be busy


class Name:
    """What the resolver answers (nothing: no such name), and how often it was asked. Cleared `answers`: it hangs."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self._asked = asyncio.Condition()

    async def lookup(self, host: str, port: int) -> list[str]:
        async with self._asked:
            self.asked += 1
            self._asked.notify_all()
        await self.answers.wait()
        if not self.hosts:
            raise OSError("no address")
        return list(self.hosts)

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(20), self._asked:
            await self._asked.wait_for(lambda: self.asked >= times)


class Pods:
    """Processes of storage_api; each answers a call with its address."""

    def __init__(self) -> None:
        self.port = 0
        self._running: dict[str, AsgiServer] = {}

    async def start(self, host: str) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive()).get("more_body", False):
                pass
            await respond(send, 200, host.encode(), b"x/y")

        server = self._running[host] = AsgiServer(app, listening_socket(host, self.port, "test"))
        await server.start()
        self.port = server.port

    async def stop(self, host: str) -> None:
        await self._running.pop(host).stop(now() + 1)

    async def close(self) -> None:
        for host in list(self._running):
            await self.stop(host)


@pytest.fixture
async def pods() -> AsyncIterator[Pods]:
    """One process at OLD."""
    made = Pods()
    await made.start(OLD)
    yield made
    await made.close()


@asynccontextmanager
async def calling(name: Name, port: int, call_seconds: float = 30.0) -> AsyncIterator[Channel]:
    """A channel to `api`, which leads where `name` says."""
    balancer = Balancer([f"http://api:{port}"], lookup=name.lookup)
    channel = Channel(balancer, lambda: "secret", call_seconds=call_seconds)
    await channel.start()
    try:
        yield channel
    finally:
        await channel.close()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_next_call_finds_the_new_address(pods: Pods) -> None:
    name = Name(OLD)
    async with calling(name, pods.port) as channel:
        assert await channel.call("S/M", (b"x",)) == OLD.encode()
        (gone,) = channel._connections.values()
        await pods.stop(OLD)
        await pods.start(NEW)
        name.hosts = [NEW]
        began = now()
        assert await channel.call("S/M", (b"x",)) == NEW.encode()
        assert now() - began < SOON
        assert [address.url for address in channel._connections] == [f"http://{NEW}:{pods.port}"]
        assert gone.retired
        await asyncio.gather(*channel._retiring)
        assert gone.session.closed
        assert channel.up


async def test_a_name_without_a_ready_process_keeps_its_address_until_it_has_another(pods: Pods) -> None:
    name = Name(OLD)
    async with calling(name, pods.port) as channel:
        await pods.stop(OLD)
        name.hosts = []
        call = asyncio.create_task(channel.call("S/M", (b"x",)))
        await name.until_asked(3)
        assert [address.url for address in channel._balancer.addresses] == [f"http://{OLD}:{pods.port}"]
        assert not channel.up
        await pods.start(NEW)
        name.hosts = [NEW]
        began = now()
        assert await call == NEW.encode()
        assert now() - began < SOON


async def test_a_name_that_never_resolved_is_asked_too(pods: Pods) -> None:
    name = Name()
    async with calling(name, pods.port) as channel:
        call = asyncio.create_task(channel.call("S/M", (b"x",)))
        await name.until_asked(2)
        name.hosts = [OLD]
        began = now()
        assert await call == OLD.encode()
        assert now() - began < SOON


async def test_a_thousand_waiting_calls_make_one_lookup_a_second(pods: Pods) -> None:
    name = Name(OLD)
    async with calling(name, pods.port) as channel:
        await channel.call("S/M", (b"x",))
        await pods.stop(OLD)
        began, before = now(), name.asked
        calls = [
            asyncio.create_task(channel.call("S/M", (b"x",), number.to_bytes(2, "big")))  # of as many accounts
            for number in range(1000)
        ]
        await name.until_asked(before + 4)
        assert now() - began >= 3 * LOOK_SECONDS - 0.01, "four lookups take three pauses"
        await pods.start(NEW)
        name.hosts = [NEW]
        assert await asyncio.gather(*calls) == [NEW.encode()] * 1000
        assert name.asked - before <= (now() - began) / LOOK_SECONDS + 1


async def test_while_all_is_well_nobody_asks(pods: Pods) -> None:
    """A refused connection is news, an answer isn't: no lookup follows a thousand calls."""
    name = Name(OLD)
    async with calling(name, pods.port) as channel:
        await channel.call("S/M", (b"x",))
        asked = name.asked
        await asyncio.gather(*(channel.call("S/M", (b"x",)) for _ in range(1000)))
        assert name.asked <= asked + 1  # the one that was due when the channel wasn't up yet


async def test_a_resolver_that_hangs_holds_no_call(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "LOOKUP_SECONDS", 0.05)
    await pods.start(NEW)
    name = Name(OLD, NEW)
    async with calling(name, pods.port, call_seconds=2.5) as channel:
        await pods.stop(OLD)
        name.answers.clear()
        asked = name.asked
        for number in range(20):
            assert await channel.call("S/M", (b"x",), bytes([number])) == NEW.encode()
        await name.until_asked(asked + 1)
        for number in range(20):
            assert await channel.call("S/M", (b"x",), bytes([number])) == NEW.encode()
        await pods.stop(NEW)
        with pytest.raises(Unavailable):
            await channel.call("S/M", (b"x",))
        assert name.asked == asked + 1, "one lookup is in flight and no second is begun"


async def test_an_address_that_drops_packets_costs_one_connect_time_out(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a call that is waiting at it goes on to the new address."""
    monkeypatch.setattr(channel_module, "CONNECT_SECONDS", 0.5)
    with full(NEW, pods.port):
        name = Name(NEW)
        async with calling(name, pods.port) as channel:
            name.hosts = [OLD]
            began = now()
            calls = [channel.call("S/M", (b"x",), bytes([number])) for number in range(10)]
            assert await asyncio.gather(*calls) == [OLD.encode()] * 10
            assert now() - began < 0.5 + SOON


@contextmanager
def full(host: str, port: int) -> Iterator[None]:
    """A port at which a connection is neither made nor refused: its queue is full and nobody accepts."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(0)
        waiting = []
        try:
            for _ in range(4):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex((host, port))
                waiting.append(client)
            yield
        finally:
            for client in waiting:
                client.close()
