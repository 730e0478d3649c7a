"""The HTTP server of all services: what strangers send before a request is whole is bounded in octets and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from mailboat_common import asgi
from mailboat_common.asgi import AsgiServer, Receive, Scope, Send, respond
from mailboat_common.sockets import listening_socket

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LARGE = b"x" * 4096


async def _length(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers /unread at once, anything else with the length of the body."""
    length = 0
    while scope["path"] != "/unread":
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await respond(send, 200, str(length).encode(), b"text/plain")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = AsgiServer(_length, listening_socket("127.0.0.1", 0, "test"))
    await server.start()
    yield server.port
    await server.stop(asyncio.get_running_loop().time())


async def connect(port: int) -> Streams:
    return await asyncio.open_connection("127.0.0.1", port)


async def rest(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:  # it was closed while more was on its way
            return b""


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        return head.partition(b"\r\n")[0] + b" | " + await reader.readexactly(size)


async def flood(writer: asyncio.StreamWriter, piece: bytes) -> int:
    """Sends until the server closes; how much."""
    sent = 0
    async with asyncio.timeout(20):
        try:
            while True:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            return sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        pytest.param(b"GET /", LARGE, id="target"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", LARGE, id="field"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 1000, id="fields"),
        pytest.param(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000, id="trailers"),
        pytest.param(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;a=", LARGE, id="chunk-extension"),
        pytest.param(b"", b"\r\n" * 2000, id="empty-lines"),
    ],
)
async def test_what_is_no_body_is_bounded(port: int, start: bytes, piece: bytes) -> None:
    reader, writer = await connect(port)
    writer.write(start)
    assert await flood(writer, piece) < 16 << 20  # most of it in the sockets' buffers
    assert await rest(reader) in (b"", asgi._REFUSAL % b"431 Request Header Fields Too Large")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"GET / HT", b"HTTP/1.1 408 Request Timeout"),
        (b"GET / HTTP/1.1\r\nX: y\r\n", b"HTTP/1.1 408 Request Timeout"),
    ],
)
async def test_who_begins_no_request_in_time_is_disconnected(
    port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes, said: bytes
) -> None:
    monkeypatch.setattr(asgi, "HEAD_SECONDS", 0.05)
    reader, writer = await connect(port)
    writer.write(sent)
    assert (await rest(reader)).partition(b"\r\n")[0] == said


async def test_the_rest_of_a_body_nobody_wants_is_awaited_as_long_as_a_head(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "HEAD_SECONDS", 0.05)
    reader, writer = await connect(port)
    writer.write(b"POST /unread HTTP/1.1\r\ncontent-length: 10\r\n\r\n")
    assert await answer(reader) == b"HTTP/1.1 200 OK | 0"
    writer.write(b"x")
    assert await rest(reader) == b""


async def test_large_bodies_and_many_requests_are_no_heads(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a head is over before the body is whole, and between requests; heads in pieces are put together."""
    reader, writer = await connect(port)
    monkeypatch.setattr(asgi, "HEAD_SECONDS", 0.05)
    passed = asyncio.Event()
    for _ in range(3):
        for octet in b"POST / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n":
            writer.write(bytes([octet]))
        writer.write(b"x" * 500_000)
        await writer.drain()
        asyncio.get_running_loop().call_later(0.1, passed.set)
        await passed.wait()
        passed.clear()
        writer.write(b"x" * 500_000)
        assert await answer(reader) == b"HTTP/1.1 200 OK | 1000000"
