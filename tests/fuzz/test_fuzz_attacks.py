"""Attacks on running services: what costs the sender little and could cost us much. Short here; whole with --fuzz-full.

What is sent in one size only is in `tests/integration/test_hostile_input.py`: nested multiparts, header fields, ends of
data, injected commands, announced gigabytes, clients that read nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib

import aiohttp
import pytest

from tests.fuzz.watch import MIB, NOTES, resident, told_nothing_private, watched
from tests.support.imap import Client
from tests.support.rabbitmq import free_ports
from tests.support.service import service
from tests.support.stack import OUTSIDER, SENDER, Account, Live, Smtp, message

pytestmark = pytest.mark.stack
BLOCK = b"x" * (256 << 10)
PORTS = (
    ("smtp_ingress", "smtp"),
    ("smtp_ingress", "submissions"),
    ("imap_gateway", "imap"),
    ("imap_gateway", "imaps"),
    ("pop3_gateway", "pop3"),
    ("storage_api", "rest"),
)


async def flood(client: Smtp | Client, data: bytes, times: int) -> None:
    """Sends until it is done or cut off."""
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            client.writer.write(data)
            await client.writer.drain()
            await asyncio.sleep(0)


async def ends_with(client: Smtp) -> bytes:
    """All that is said until the connection ends, b"" if it is reset."""
    try:
        return await asyncio.wait_for(client.reader.read(), 30)
    except ConnectionError:
        return b""


async def test_connections_that_say_nothing(live: Live, fuzz_full: bool) -> None:
    """From many addresses, to every kind of port; TLS handshakes that never begin, too."""
    each = 2000 // len(PORTS) if fuzz_full else 40
    async with watched(live, f"{each * len(PORTS)} silent connections", full=fuzz_full):
        for number in range(each):
            source = f"127.3.{number % 250}.{1 + number // 250}"
            await asyncio.gather(*(live.open(live.port(*port), source=source) for port in PORTS))
        account = live.account()
        await live.deliver(account, message("through"))
        assert b"* 1 EXISTS" in await (await live.imap(1, account)).ok("SELECT INBOX")
    live.close()


async def test_messages_that_drip(live: Live, fuzz_full: bool) -> None:
    """Forty clients have sent most of a message and go on octet by octet (when they are cut off: test_smtp_pace)."""
    account = live.account()
    async with watched(live, "40 dripping messages of 4 MB", full=fuzz_full):
        clients = [await live.smtp() for _ in range(40)]
        for client in clients:
            for line in (f"MAIL FROM:<{OUTSIDER}>", f"RCPT TO:<{account.address}>", "DATA"):
                assert (await client.say(line))[0] in "23"
        large = b"x" * 70 + b"\r\n"
        for client in clients:
            await flood(client, large * 1000, 56 if fuzz_full else 4)
        for _ in range(100 if fuzz_full else 20):
            for client in clients:
                client.send(b"x")
            await asyncio.sleep(0.02)
        await live.deliver(account, message("through"))
    live.close()


@pytest.mark.parametrize(
    ("port", "end"),
    [
        (("smtp_ingress", "smtp"), b"500 "),
        (("imap_gateway", "imap"), b"BAD "),
        (("pop3_gateway", "pop3"), b"-ERR "),
        (("storage_api", "rest"), b"HTTP/1.1 4"),
        (("storage_api", "internal"), b"HTTP/1.1 4"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_a_line_of_thirty_megabytes(live: Live, fuzz_full: bool, port: tuple[str, str], end: bytes) -> None:
    """As a command, or as a request's line: refused or cut, and kept nowhere."""
    async with watched(live, f"a line of 30 MB on {port[1]}", full=fuzz_full):
        client = Smtp(*await live.open(live.port(*port)))
        if port[0] != "storage_api":
            await client.line()
        await flood(client, BLOCK, 120)
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's for what is closed already
            client.send(b"\r\nQUIT\r\na LOGOUT\r\n\r\n")
            await client.writer.drain()
        heard = await ends_with(client)
        told_nothing_private(live, heard)
        assert not heard or end in heard, heard[:200]


async def test_a_header_line_of_thirty_megabytes(live: Live, fuzz_full: bool) -> None:
    """SMTP refuses it; APPEND keeps it, as the client's own, and shows nothing that large."""
    account = live.account()
    size = 30 if fuzz_full else 4
    content = SENDER + b"Subject: " + b"x" * (size * MIB) + b"\r\n\r\nbody\r\n"
    async with watched(live, f"a header line of {size} MB", full=fuzz_full):
        smtp = await live.smtp()
        assert (await smtp.transaction(OUTSIDER, account.address, content)).startswith("552 5.3.4")
        imap = await live.imap(1, account, "INBOX")
        assert b" OK" in await imap.append("INBOX", content)
        for items in ("ENVELOPE", "BODYSTRUCTURE", "(FLAGS BODY.PEEK[HEADER.FIELDS (FROM)])", "PREVIEW"):
            answers = await imap.ok(f"FETCH 1 {items}")
            assert answers, items
            assert max(map(len, answers)) < MIB, items
        assert await imap.ok("SEARCH SUBJECT nowhere") == [b"* SEARCH"]


async def test_five_thousand_recipients(live: Live, fuzz_full: bool) -> None:
    """RFC 5321 4.5.3.1.10: 452 beyond the limit, and those below get their mail."""
    account, count = live.account(), 5000 if fuzz_full else 1200
    async with watched(live, f"{count} recipients", full=fuzz_full):
        smtp = await live.smtp()
        assert (await smtp.say(f"MAIL FROM:<{OUTSIDER}>")).startswith("250")
        smtp.send(f"RCPT TO:<{account.address}>\r\n".encode() * count)
        answers = [await smtp.reply() for _ in range(count)]
        assert [answer[:9] for answer in answers] == ["250 2.1.5"] * 1000 + ["452 4.5.3"] * (count - 1000)
        assert (await smtp.say("DATA")).startswith("354")
        smtp.send(message("to many") + b".\r\n")
        assert (await smtp.reply()).startswith("250 2.0.0 Ok")
        assert b"* 1 EXISTS" in await (await live.imap(1, account)).ok("SELECT INBOX")


@pytest.mark.parametrize(
    "service_label", [("imap_gateway", "imap"), ("smtp_ingress", "smtp"), ("pop3_gateway", "pop3")]
)
async def test_commands_without_a_pause(live: Live, fuzz_full: bool, service_label: tuple[str, str]) -> None:
    """Ten clients send what costs nothing to answer, as fast as the sockets take it, and read it all."""
    name, label = service_label
    line = {"imap": b"a NOOP\r\n", "smtp": b"NOOP\r\n", "pop3": b"CAPA\r\n"}[label]
    times = 200 if fuzz_full else 10

    async def one(number: int) -> None:
        reader, writer = await live.open(live.port(name, label), source=f"127.4.1.{1 + number}")
        client = Smtp(reader, writer)
        reading = asyncio.ensure_future(reader.read(1 << 30))
        await flood(client, line * 2000, times)
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await reading

    async with watched(live, f"commands without a pause on {label}", full=fuzz_full):
        await asyncio.gather(*map(one, range(10)))


async def test_a_gigabyte_is_asked_for_and_not_read(live: Live, fuzz_full: bool) -> None:
    """Over IMAP and POP3; what isn't read isn't prepared. (When such a session ends: test_connection.)"""
    accounts, lines = [live.account() for _ in range(4 if fuzz_full else 1)], 300_000 if fuzz_full else 60_000
    for account in accounts:
        imap = await live.imap(1, account)
        assert b" OK" in await imap.append("INBOX", message("large") + (b"y" * 76 + b"\r\n") * lines)
        await imap.ok("LOGOUT")
    async with watched(
        live, f"{2 * len(accounts)} × {lines * 44 * 78 // 10**6} MB asked for and not read", full=fuzz_full
    ):
        for account in accounts:
            imap, pop3 = await live.imap(1, account, "INBOX"), await live.pop3(1, account)
            for client in (imap, pop3):
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            imap.send(b"".join(b"f%d FETCH 1 BODY.PEEK[]\r\n" % n for n in range(44)))
            pop3.send(b"RETR 1\r\n" * 44)
        other = await live.imap(1, live.account(), "INBOX")
        for _ in range(100 if fuzz_full else 20):
            assert await other.ok("NOOP") == []
            await asyncio.sleep(0.05)
        live.close()


BOMBS = {
    "nested arrays": b"[" * 2_000_000,
    "nested objects": b'{"name":' * 250_000,
    "a long number": b'{"name":' + b"9" * 3_000_000 + b"}",
    "a large exponent": b'{"name":1e999999999}',
    "many members": b"{" + b",".join(b'"a%d":1' % n for n in range(200_000)) + b"}",
    "one member many times": b"{" + b",".join([b'"name":"x"'] * 200_000) + b"}",
    "lone surrogate": b'{"name":"\\ud800"}',
    "NUL": b'{"name":"a\\u0000b"}',
    "not a number": b'{"name":NaN}',
    "not UTF-8": b'{"name":"\xff\xfe"}',
    "no JSON": b"\0" * 1_000_000,
}


async def test_json_that_costs_more_than_it_weighs(live: Live, fuzz_full: bool) -> None:
    """Refused with words of ours; a body that says it is compressed is never inflated."""
    headers = {"Authorization": f"Bearer {live.stack.env['MB_API_TOKEN']}", "Content-Type": "application/json"}
    size = 1024 if fuzz_full else 64
    deflate = zlib.compressobj(9)
    compressed = b"".join(deflate.compress(b"x" * MIB) for _ in range(size)) + deflate.flush()
    paths = ("/v1/domains", "/v1/accounts", "/v1/webhooks", "/v1/tokens") if fuzz_full else ("/v1/domains",)
    async with watched(live, "JSON bombs", full=fuzz_full), aiohttp.ClientSession(headers=headers) as client:
        for url in (live.stack.api_url + path for path in paths):
            for name, body in BOMBS.items():
                async with client.post(url, data=body) as answer:
                    text = await answer.read()
                    assert answer.status in (400, 413, 422), (name, answer.status, text[:500])
                    assert set(json.loads(text)) >= {"type", "title", "status"}, name
                    told_nothing_private(live, text)
            for encoding in ("deflate", "gzip", "zstd", "br"):
                async with client.post(url, data=compressed, headers={"Content-Encoding": encoding}) as answer:
                    assert answer.status in (400, 415, 422), encoding
                    told_nothing_private(live, await answer.read())


async def test_internal_calls_of_strangers(live: Live, fuzz_full: bool) -> None:
    """The internal port is in no Service for clients; whoever reaches it learns nothing and costs nothing."""
    port = live.port("storage_api", "internal")
    async with watched(live, "strangers' internal calls", full=fuzz_full):
        for head in (
            b"content-length: " + b"9" * 5000,
            b"content-length: 99999999999",
            b"x-deadline-ms: " + b"9" * 5000 + b"\r\ncontent-length: 0",
            b"authorization: Bearer \xff\xfe\r\ncontent-length: 0",
            b"transfer-encoding: chunked\r\ncontent-length: 5",
            b"content-encoding: zstd\r\ncontent-length: 0",
        ):
            client = Smtp(*await live.open(port))
            client.send(
                b"POST /internal/v1/Directory/Authenticate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                + head
                + b"\r\n\r\n"
            )
            heard = await ends_with(client)
            assert heard.startswith(b"HTTP/1.1 4"), (head[:60], heard[:200])
            told_nothing_private(live, heard)


async def over_tls(live: Live, port: int, account: Account) -> Client:
    """An IMAP session with a gateway that isn't the stack's."""
    client = Client(*await live.open(port, tls=True))
    await client.response()
    await client.login(account.address, account.password)
    return client


async def test_little_that_inflates_to_much(live: Live, fuzz_full: bool) -> None:
    """IMAP COMPRESS: a kilobyte that becomes a megabyte is taken a piece at a time, and only while it is wanted."""
    account = live.account()
    layout = live.stack.layout
    settings = {
        "MB_STORAGE_URL": f"http://127.0.0.1:{live.port('storage_api', 'internal')}",
        "MB_INTERNAL_TOKEN_FILE": str(layout.tokens / "imap_gateway"),
        "MB_AMQP_URL": live.stack.amqp_url,
        "MB_TLS_DIR": str(layout.server_tls),
        "MB_IMAP_COMPRESS": "true",
        "MB_IMAP_PORT": "0",
    }
    bombs = {
        "one line": b"z" * MIB,
        "commands": b"a NOOP\r\n" * (MIB // 8),
        "a literal": b"a APPEND INBOX {50000000+}\r\n" + b"y" * MIB,
    }
    (port,) = free_ports(1)
    async with service("imap_gateway", {**settings, "MB_IMAPS_PORT": str(port)}) as gateway:
        await gateway.until_ready()
        start = peak = resident(gateway.process.pid)
        other = await over_tls(live, port, live.account())
        for data in bombs.values():
            clients = []
            for _ in range(5 if fuzz_full else 2):
                client = await over_tls(live, port, account)
                await client.ok("COMPRESS DEFLATE")
                deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
                bomb = b"".join(deflate.compress(data) for _ in range(200 if fuzz_full else 5)) + deflate.flush()
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                client.send(bomb)
                clients.append(client)
            for _ in range(40 if fuzz_full else 10):
                peak = max(peak, resident(gateway.process.pid))
                assert await other.ok("NOOP") == []
            for client in clients:
                client.writer.transport.abort()
        assert gateway.process.returncode is None
        NOTES.append(f"COMPRESS bombs: MiB imap_gateway {start // MIB}→{peak // MIB}")
        print(NOTES[-1])
        assert peak - start < 200 * MIB
