"""Requests to strangers: where they may go, and how little an answer can do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network

import pytest
import trustme
from storage_api.feed import egress as module
from storage_api.feed.egress import Egress

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("93.184.216.34", True),
        ("2606:4700:4700::1111", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:db8::1", False),
    ],
)
def test_only_global_unicast_addresses(address: str, permitted: bool) -> None:
    egress = Egress(())
    assert egress.permitted(address, plain=False) is permitted
    assert not egress.permitted(address, plain=True)


def test_listed_networks_pass_also_without_tls() -> None:
    egress = Egress((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    for address in ("10.1.2.3", "fd00::1"):
        assert egress.permitted(address, plain=False)
        assert egress.permitted(address, plain=True)
    assert not egress.permitted("192.168.0.1", plain=False)


class Receiver:
    """A server on 127.0.0.1 that says the same to everybody; `requests` are what it was sent."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head + await reader.readexactly(2))
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def receiver(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    made = Receiver(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


class Names:
    """A resolver: each name has answers of its own, the last for good."""

    def __init__(self, **answers: Sequence[str]) -> None:
        self._answers = {name.replace("_", "."): list(found) for name, found in answers.items()}

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        found = self._answers[host]
        return [found.pop(0) if len(found) > 1 else found[0]]


async def post(egress: Egress, url: str) -> tuple[int, str, str]:
    try:
        answer = await egress.post(url, {"x-test": "1"}, b"{}")
    finally:
        await egress.close()
    return answer.status, answer.result, answer.error


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_a_request_arrives_and_its_answer_is_read() -> None:
    async with receiver(OK) as server:
        egress = Egress(LOOPBACK, resolve=Names(crm_test=["127.0.0.1"]))
        assert await post(egress, f"http://crm.test:{server.port}/hook?x=1") == (204, "ok", "")
    (request,) = server.requests
    assert request.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
    assert f"host: crm.test:{server.port}\r\n".encode() in request.lower()
    assert request.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "127.1", "localhost", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_loopback_gets_through(host: str, scheme: str) -> None:
    async with receiver(OK) as server:
        status, result, error = await post(Egress(()), f"{scheme}://{host}:{server.port}/")
        assert status == 0
        assert result == "forbidden" or (host in ("2130706433", "127.1") and result == "unreachable"), error
    assert server.requests == []


async def test_a_name_that_answers_otherwise_the_second_time_gains_nothing() -> None:
    async with receiver(OK) as server:
        egress = Egress((), resolve=Names(rebind_test=["93.184.216.34", "127.0.0.1"]))
        await egress._resolve("rebind.test", 443)  # whoever looked before
        assert (await post(egress, f"https://rebind.test:{server.port}/"))[1] == "forbidden"
    assert server.requests == []


async def test_redirects_are_not_followed() -> None:
    async with receiver(OK) as inner:
        answer = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{inner.port}/\r\nContent-Length: 0\r\n\r\n"
        async with receiver(answer.encode()) as server:
            status, result, error = await post(Egress(LOOPBACK), f"http://127.0.0.1:{server.port}/")
        assert (status, result, error) == (307, "refused", "status 307: redirects aren't followed")
    assert inner.requests == []


async def test_certificates_are_verified() -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("crm.test").configure_cert(server_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    names = Names(crm_test=["127.0.0.1"], other_test=["127.0.0.1"])
    async with receiver(OK, server_side) as server:
        trusted = Egress(LOOPBACK, resolve=names, tls=trusting)
        assert (await post(trusted, f"https://crm.test:{server.port}/"))[1] == "ok"
        for tls, name in ((trusting, "other.test"), (None, "crm.test")):
            egress = Egress(LOOPBACK, resolve=names, tls=tls)
            found = await post(egress, f"https://{name}:{server.port}/")
            assert found == (0, "unreachable", "the receiver's certificate isn't valid")


async def test_an_endless_answer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + b"x" * (4 << 20)
    async with receiver(answer) as server:
        assert (await post(Egress(LOOPBACK), f"http://127.0.0.1:{server.port}/"))[1] == "ok"


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_SECONDS", 0.05)
    async with receiver(b"") as server:
        server.serve = _silent  # type: ignore[method-assign]
        listening = await asyncio.start_server(_silent, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            assert (await post(Egress(LOOPBACK), f"http://127.0.0.1:{port}/"))[1] == "timeout"


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_nobody_there() -> None:
    async with receiver(OK) as server:
        port = server.port
    found = await post(Egress(LOOPBACK), f"http://127.0.0.1:{port}/")
    assert found == (0, "unreachable", "the receiver can't be reached")


async def test_an_answer_that_is_no_http() -> None:
    async with receiver(b"+OK POP3 ready\r\n\r\n") as server:
        assert (await post(Egress(LOOPBACK), f"http://127.0.0.1:{server.port}/"))[1] == "unreachable"
