"""Deadlines, repeats and fail-over of calls, against small servers that do what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from mailboat.common.v1 import common_pb2 as common
from mailboat_common.asgi import AsgiServer, Receive, Scope, Send, respond
from mailboat_common.errors import Internal, Refused, RefusedCode, Unavailable
from mailboat_common.sockets import listening_socket
from mailboat_store_client import channel as channel_module
from mailboat_store_client.balance import Balancer
from mailboat_store_client.channel import Channel
from mailboat_store_client.http import HttpStore

Handler = Callable[["Server", bytes, Send], Awaitable[None]]


class Server:
    """One address. `handle` answers; `calls` are (path, headers, body)."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.calls: list[tuple[str, dict[bytes, bytes], bytes]] = []
        self.url = ""
        self.connections: set[object] = set()
        self.probes = asyncio.Semaphore(0)  # one for each answered `ready`

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.connections.add(tuple(scope["client"]))
        if scope["path"].endswith("/ready"):
            await respond(send, 200, b"", b"text/plain")
            self.probes.release()
            return
        self.calls.append((scope["path"], dict(scope["headers"]), body))
        await self.handle(self, body, send)


async def ok(server: Server, body: bytes, send: Send) -> None:
    await respond(send, 200, b"answer to " + body[:20], b"x/y")


def fails(status: int, code: int = 0, text: str = "") -> Handler:
    async def handle(server: Server, body: bytes, send: Send) -> None:
        await respond(send, status, common.ErrorDetail(code=code, public_text=text).SerializeToString(), b"x/y")

    return handle


async def hangs(server: Server, body: bytes, send: Send) -> None:
    await asyncio.Event().wait()


async def breaks(server: Server, body: bytes, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})


@asynccontextmanager
async def running(*handlers: Handler, call_seconds: float = 5.0) -> AsyncIterator[tuple[Channel, list[Server]]]:
    """A channel to one server for each handler."""
    async with AsyncExitStack() as stack:
        servers = []
        for handler in handlers:
            server = Server(handler)
            listening = AsgiServer(server, listening_socket("127.0.0.1", 0, "test"))
            await listening.start()
            stack.push_async_callback(listening.stop, asyncio.get_running_loop().time() + 1)
            server.url = f"http://127.0.0.1:{listening.port}"
            servers.append(server)
        made = Channel(Balancer([s.url for s in servers]), lambda: "secret", call_seconds=call_seconds)
        await made.start()
        stack.push_async_callback(made.close)
        yield made, servers


async def test_a_call_carries_token_deadline_and_body() -> None:
    async with running(ok) as (channel, (server,)):
        assert await channel.call("S/M", (b"he", b"llo")) == b"answer to hello"
        path, headers, body = server.calls[0]
        assert (path, body) == ("/internal/v1/S/M", b"hello")
        assert headers[b"authorization"] == b"Bearer secret"
        assert 0 < int(headers[b"x-deadline-ms"]) <= 5000
        assert headers[b"content-length"] == b"5"
        assert channel.up


async def test_a_large_body_is_sent_in_pieces_and_again_on_repeat() -> None:
    big = bytes(range(256)) * 8192

    async def first_fails(server: Server, body: bytes, send: Send) -> None:
        assert body == b"head" + big
        await (fails(503) if len(server.calls) == 1 else ok)(server, body, send)

    async with running(first_fails) as (channel, (server,)):
        assert (await channel.call("S/M", (b"head", big))).startswith(b"answer to head")
        assert len(server.calls) == 2


@pytest.mark.parametrize("bad", [fails(503), fails(504), breaks])
async def test_what_may_pass_is_repeated_at_another_address(bad: Handler) -> None:
    async with running(bad, ok) as (channel, servers):
        for _ in range(8):
            assert await channel.call("S/M", (b"x",)) == b"answer to x"
        assert len(servers[0].calls) <= 2  # then left alone for a while
        assert channel.up


async def test_a_refused_connection_goes_to_another_address_at_once() -> None:
    async with running(ok) as (_, (server,)):
        channel = Channel(Balancer(["http://127.0.0.1:1", server.url]), lambda: "t", call_seconds=5)
        await channel.start()
        try:
            for number in range(8):
                assert await channel.call("S/M", (b"x",), bytes([number]) * 16) == b"answer to x"
        finally:
            await channel.close()


async def test_a_hanging_address_gets_half_of_the_deadline() -> None:
    async with running(hangs, ok, call_seconds=1.0) as (channel, (hanging, good)):
        balancer = channel._balancer
        key = next(k for k in (bytes([n]) * 16 for n in range(99)) if balancer.for_key(k).url == hanging.url)
        assert await channel.call("S/M", (b"x",), key) == b"answer to x"
        assert (len(hanging.calls), len(good.calls)) == (1, 1)


async def test_the_deadline_ends_in_unavailable() -> None:
    async with running(fails(503), call_seconds=0.5) as (channel, (server,)):
        with pytest.raises(Unavailable):
            await channel.call("S/M", (b"x",))
        assert 2 <= len(server.calls) <= 20
        assert not channel.up


async def test_without_repeat_the_first_failure_counts() -> None:
    async with running(fails(503)) as (channel, (server,)):
        with pytest.raises(Unavailable):
            await channel.call("S/M", (b"x",), repeat=False)
        assert len(server.calls) == 1


async def test_refusals_and_bugs_are_not_repeated() -> None:
    async with running(fails(409, RefusedCode.OVER_QUOTA, "full")) as (channel, (server,)):
        with pytest.raises(Refused) as refused:
            await channel.call("S/M", (b"x",))
        assert (refused.value.code, refused.value.public) == (RefusedCode.OVER_QUOTA, "full")
        for status in (500, 400, 403, 418):
            server.handle = fails(status)
            with pytest.raises(Internal):
                await channel.call("S/M", (b"x",))
        assert len(server.calls) == 5
        assert channel.up


async def test_nobody_there_is_unavailable() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    channel = Channel(Balancer(["http://nowhere"], lookup=lookup), lambda: "t", call_seconds=0.2)
    await channel.start()
    with pytest.raises(Unavailable):
        await channel.call("S/M", (b"x",))
    assert not await channel.ready()
    await channel.close()


async def test_a_closed_channel_makes_no_connection() -> None:
    """A call that still runs when the process ends, and one that comes later, fail, and leave nothing open."""
    async with running(hangs) as (channel, (server,)):
        asking = asyncio.create_task(channel.call("S/M", (b"x",)))
        async with asyncio.timeout(10):
            while not server.calls:  # noqa: ASYNC110 - the server has no event
                await asyncio.sleep(0)
        await channel.close()
        for call in (asking, channel.call("S/M", (b"y",))):
            with pytest.raises(Unavailable):
                await call
        assert not await channel.ready()
        assert channel._connections == {}
        assert len(server.calls) == 1


async def test_a_broken_stream_goes_on_where_it_broke() -> None:
    whole = b"".join(bytes([n]) * 1000 for n in range(10))

    async def some(server: Server, body: bytes, send: Send) -> None:
        rest = whole[int(body) :]
        give = rest[:3500]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": give, "more_body": True})
        if len(rest) == len(give):
            await send({"type": "http.response.body", "body": b""})

    async with running(some, some) as (channel, servers):
        got = [chunk async for chunk in channel.stream("S/R", lambda received: str(received).encode())]
        assert b"".join(got) == whole
        assert sum(len(server.calls) for server in servers) == 3


async def test_a_refused_stream_is_refused() -> None:
    async with running(fails(409, RefusedCode.NO_MESSAGE)) as (channel, _):
        with pytest.raises(Refused) as refused:
            [chunk async for chunk in channel.stream("S/R", lambda _: b"")]
        assert refused.value.code is RefusedCode.NO_MESSAGE


async def test_connections_are_kept_and_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(ok) as (channel, (server,)):
        await channel.ready()
        for _ in range(2):  # ours and the channel's own first one, which may have a connection of its own
            await server.probes.acquire()
        before = set(server.connections)
        for _ in range(5):
            await channel.call("S/M", (b"x",))
        assert server.connections == before
        monkeypatch.setattr(channel_module, "RENEW_SECONDS", -100.0)
        await channel.call("S/M", (b"x",))
        assert len(server.connections) == len(before) + 1


async def test_an_answer_that_does_not_parse_is_internal() -> None:
    async with running(ok) as (_, (server,)):
        store = HttpStore([server.url], lambda: "t")
        await store.start()
        with pytest.raises(Internal):
            await store.directory.resolve(["a@b.test"])
        await store.close()


async def test_a_lost_confirmation_harms_nobody() -> None:
    async with running(fails(503)) as (_, (server,)):
        store = HttpStore([server.url], lambda: "t")
        await store.start()
        await store.delivery.confirm(["trace"])
        assert [path for path, _, _ in server.calls] == ["/internal/v1/DeliveryService/Confirm"]
        await store.close()
