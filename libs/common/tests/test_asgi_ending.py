"""An application behind a socket: what its clients are told when the process is to end."""

import asyncio

import aiohttp
from mailboat_common.asgi import AsgiServer, Receive, Scope, Send, respond
from mailboat_common.sockets import listening_socket


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, 200, b"answer", b"text/plain")


async def test_an_ending_server_says_that_an_answer_is_the_last() -> None:
    ending = asyncio.Event()
    server = AsgiServer(app, listening_socket("127.0.0.1", 0, "test"), ending=ending.is_set)
    await server.start()
    url = f"http://127.0.0.1:{server.port}/"
    try:
        async with aiohttp.ClientSession() as client:
            async with client.get(url) as answer:
                assert "connection" not in answer.headers
            ending.set()
            for _ in range(2):  # it still takes connections
                async with client.get(url) as answer:
                    assert (answer.headers["connection"], await answer.text()) == ("close", "answer")
    finally:
        await server.stop(asyncio.get_running_loop().time() + 1)
