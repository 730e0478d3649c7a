"""What strangers and broken clients send to the real ports: an answer, bounded memory, a process that lives on.

MEMORY: what a process may have grown by after a test. Each test that sends much measures it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.imap import Client
from tests.support.stack import OUTSIDER, SENDER, Live, Smtp, message, stuffed
from tests.support.wire import Wire

pytestmark = pytest.mark.stack
MIB = 1 << 20
MEMORY = 96 * MIB


@contextlib.asynccontextmanager
async def bounded(live: Live, *services: str, growth: int = MEMORY) -> AsyncIterator[None]:
    """No process of these services dies or keeps more memory than that."""
    names = live.services(*services)
    before = {name: (live.stack.pid(name), live.rss(name)) for name in names}
    yield
    after = {name: (live.stack.pid(name), live.rss(name)) for name in names}
    assert {name: pid for name, (pid, _) in before.items()} == {name: pid for name, (pid, _) in after.items()}
    grown = {name: (after[name][1] - before[name][1]) / MIB for name in names}
    print("grown, MiB: " + ", ".join(f"{name} {size:.1f}" for name, size in grown.items()))
    assert max(grown.values()) * MIB < growth, grown


def nested(depth: int) -> bytes:
    """A message of so many multiparts, each within the other."""
    heads = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth))
    tails = b"".join(b"--b%d--\r\n" % n for n in reversed(range(depth)))
    return SENDER + b"Subject: nested\r\nMIME-Version: 1.0\r\n" + heads + b"\r\nthe core\r\n" + tails


def fields(count: int, field: bytes = b"X-F: v\r\n") -> bytes:
    """A message with so many header fields."""
    return SENDER + b"Subject: fields\r\n" + field * count + b"\r\nbody\r\n"


async def body_of(client: Client, uid: int) -> bytes:
    """BODY.PEEK[] of one message."""
    (answer,) = await client.ok(f"UID FETCH {uid} BODY.PEEK[]")
    size = int(answer[answer.index(b"{") + 1 : answer.index(b"}")])
    start = answer.index(b"}\r\n") + 3
    return answer[start : start + size]


async def read_every_way(client: Client, uid: int) -> None:
    """Everything a client may ask about a message is answered, and with bounded sizes."""
    for items in (
        "ALL",
        "FULL",
        "BODYSTRUCTURE",
        "BODY.PEEK[HEADER]",
        "BODY.PEEK[1]",
        "BODY.PEEK[1.1.1.MIME]",
        "RFC822",
    ):
        answers = await client.ok(f"UID FETCH {uid} {items}")
        assert answers, items
        assert max(map(len, answers)) < MIB, items
    assert await client.ok("UID SEARCH SUBJECT nowhere") == [b"* SEARCH"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(nested(3000), id="3000-nested-multiparts"),
        pytest.param(fields(30_000), id="30000-header-fields"),
        pytest.param(SENDER + b"Subject: " + b"=?utf-8?q?=C3=A4?= " * 9000 + b"\r\n\r\nx\r\n", id="a-long-subject"),
        pytest.param(SENDER + b"To: " + b"<a@b.example>, " * 15_000 + b"\r\n\r\nx\r\n", id="15000-addresses"),
        pytest.param(SENDER + b"Subject: 8-bit \xff\xfe\xe4\r\n\r\n\xff\xfe\xe4\x80\x01\r\n", id="8-bit"),
        pytest.param(
            SENDER + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 50_000, id="50000-parts"
        ),
        pytest.param(SENDER + b"Content-Type: message/rfc822\r\n\r\n" * 3000 + b"x\r\n", id="3000-messages-nested"),
    ],
)  # fmt: skip
async def test_hostile_mime_is_kept_to_the_byte_and_can_be_read(live: Live, content: bytes) -> None:
    account = live.account()
    async with bounded(live, "smtp_ingress", "imap_gateway", "storage_api"):
        await live.deliver(account, content)
        client = await live.imap(2, account, "INBOX")
        assert b" OK" in await client.append("INBOX", content)
        assert (await body_of(client, 1)).endswith(content)
        assert await body_of(client, 2) == content
        for uid in (1, 2):
            await read_every_way(client, uid)


async def test_a_hundred_thousand_header_fields_are_too_many(live: Live) -> None:
    """A header block has 256 KiB. SMTP refuses more; APPEND keeps it, as the client's own, but shows nothing that large."""
    account, content = live.account(), fields(100_000)
    async with bounded(live, "smtp_ingress", "imap_gateway", "storage_api"):
        smtp = await live.smtp()
        answer = await smtp.transaction(OUTSIDER, account.address, content)
        assert answer.startswith("552 5."), answer
        assert (await smtp.transaction(OUTSIDER, account.address, message("next"))).startswith("250")
        imap = await live.imap(1, account, "INBOX")
        assert b" OK" in await imap.append("INBOX", content)
        assert await body_of(imap, 2) == content
        await read_every_way(imap, 2)


async def test_nul_is_refused_everywhere(live: Live) -> None:
    """RFC 5321 2.3.8, RFC 9051 4.3: there is no NUL in mail; binary goes base64."""
    account, content = live.account(), SENDER + b"\r\na\0b\r\n"
    smtp = await live.smtp(1)
    answer = await smtp.transaction(OUTSIDER, account.address, content)
    assert answer[0] == "5", answer
    imap = await live.imap(2, account, "INBOX")
    reply = await imap.append("INBOX", content)
    assert b" NO [CANNOT] " in reply, reply
    assert b"* 0 EXISTS" in await imap.ok("SELECT INBOX")


ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\r",
    b"\r\n.\0\r\n",
    b"\n\n.\r\n",
    b"\r\r\n.\r\r\n",
]


@pytest.mark.parametrize("end", ENDS, ids=repr)
async def test_only_one_end_of_data_ends_it(live: Live, end: bytes) -> None:
    """RFC 5321 4.1.1.4: whatever else looks like the end smuggles nothing: one reply, a refusal, and no mail."""
    account = live.account()
    smtp = await live.smtp()
    for line in (f"MAIL FROM:<{OUTSIDER}>", f"RCPT TO:<{account.address}>", "DATA"):
        assert (await smtp.say(line))[0] in "23"
    smuggled = f"MAIL FROM:<{OUTSIDER}>\r\nRCPT TO:<{account.address}>\r\nDATA\r\n".encode() + message("smuggled")
    smtp.send(message("first") + end + smuggled + b"\r\n.\r\n")
    answer = await smtp.reply()
    assert answer.startswith("5"), answer
    assert (await smtp.say("NOOP")).startswith("250")  # the next reply belongs to the next command
    assert b"* 0 EXISTS" in await (await live.imap(1, account)).ok("SELECT INBOX")


async def test_four_gigabytes_announced(live: Live) -> None:
    """Announced sizes are refused before anything is sent, and cost nothing."""
    account = live.account()
    async with bounded(live, "smtp_ingress", "imap_gateway", growth=16 * MIB):
        smtp = await live.smtp()
        assert (await smtp.say(f"MAIL FROM:<{OUTSIDER}> SIZE=4294967296")).startswith("552 5.3.4")
        assert (await smtp.say(f"MAIL FROM:<{OUTSIDER}>")).startswith("250")
        assert (await smtp.say(f"RCPT TO:<{account.address}>")).startswith("250")
        smtp.send(b"BDAT 4294967296 LAST\r\n")
        for _ in range(80):  # 30 MiB more than a message may have: read, since nothing else can follow, and thrown away
            smtp.send(b"x" * MIB)
            await smtp.writer.drain()
        await asyncio.to_thread(socket_is_empty, live.port("smtp_ingress", "smtp"))

        stranger = await live.imap(1)
        (answer,) = await stranger.command("LOGIN {4294967296}")
        assert b" BAD " in answer or b" NO " in answer
        client = await live.imap(1, account, "INBOX")
        (answer,) = await client.command("APPEND INBOX {4294967296}")
        assert b" NO [TOOBIG]" in answer, answer
        assert await client.ok("NOOP") == []
        client.send(b"big APPEND INBOX {4294967295+}\r\n" + b"x" * MIB)
        lines = await client.until(b"\0")  # refused, dropped as it comes, or the connection is cut: never kept
        assert lines[-1] == b""
        assert any(line.startswith((b"big NO", b"big BAD", b"* BYE")) for line in lines[:-1]), lines


def socket_is_empty(port: int, seconds: float = 10.0) -> None:
    """Waits until the server has read everything that clients have sent to this port (proc(5): rx_queue)."""
    deadline = time.monotonic() + seconds
    while any(
        int(columns[4].partition(":")[2], 16)
        for table in ("tcp", "tcp6")
        for columns in map(str.split, Path("/proc/net", table).read_text().splitlines()[1:])
        if int(columns[1].rpartition(":")[2], 16) == port and columns[3] == "01"
    ):
        assert time.monotonic() < deadline, "the server doesn't read"
        time.sleep(0.02)


async def injected(live: Live, client: Wire, command: bytes, more: bytes) -> bytes:
    """What a client reads over TLS that has sent commands in the same segment as its STARTTLS; b"" if cut off."""
    client.send(command + more)
    try:
        answer = await client.line()
        if not answer.startswith(("220", "+OK", "s OK")):
            return b""
        await client.start_tls(live.tls)
        client.send(b"x NOOP\r\n")
        return (await client.line()).encode()
    except (asyncio.IncompleteReadError, OSError):
        return b""


@pytest.mark.parametrize(
    ("label", "command", "more", "goes_on"),
    [
        ("smtp", b"STARTTLS\r\n", b"EHLO injected\r\n", b"500 "),  # thrown away; x is no command
        ("submission", b"STARTTLS\r\n", b"MAIL FROM:<a@b.example>\r\n", b"500 "),
        ("imap", b"s STARTTLS\r\n", b"inj CAPABILITY\r\n", b""),  # b"": the connection was cut
        ("pop3", b"STLS\r\n", b"USER injected\r\n", b""),
    ],
)
async def test_nothing_said_before_tls_counts(
    live: Live, label: str, command: bytes, more: bytes, goes_on: bytes
) -> None:
    """RFC 3207 4.2, RFC 9051 6.2.1, RFC 2595 4: what came in clear text behind STARTTLS is never answered over TLS."""
    service = {"imap": "imap_gateway", "pop3": "pop3_gateway"}.get(label, "smtp_ingress")
    client = Smtp(*await live.open(live.port(service, label)))
    await client.line()
    if service == "smtp_ingress":
        assert (await client.say("EHLO client.example")).startswith("250")
    answer = await injected(live, client, command, more)
    assert answer.startswith(goes_on) if goes_on else answer == b"", answer


async def test_a_client_that_asks_for_much_and_reads_nothing(live: Live) -> None:
    """Ten sessions ask for 24 MB two hundred times each: what isn't read isn't prepared."""
    account = live.account()
    first = await live.imap(1, account)
    assert b" OK" in await first.append("INBOX", message("large", b"x" * 76 + b"\r\n") + b"y" * 24_000_000)
    await first.ok("LOGOUT")
    async with bounded(live, "imap_gateway", "storage_api", growth=384 * MIB):
        peak = 0
        clients = [await live.imap(1, account, "INBOX") for _ in range(10)]
        for client in clients:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(b"".join(b"f%d FETCH 1 (BODY.PEEK[] BODY.PEEK[TEXT])\r\n" % n for n in range(100)))
        before = live.rss("imap_gateway-1")
        other = await live.imap(1, live.account(), "INBOX")
        for _ in range(40):  # while they wait, others are served
            assert await other.ok("NOOP") == []
            peak = max(peak, live.rss("imap_gateway-1"))
            await asyncio.sleep(0.05)
        print(f"peak {(peak - before) / MIB:.0f} MiB over {before / MIB:.0f}")
        assert peak - before < 384 * MIB
        live.close()
        await asyncio.sleep(0)
    assert (await live.page("imap_gateway-1", "/livez"))[0] == 200


@pytest.mark.parametrize(
    ("service", "label", "limit", "refusal"),
    [
        ("smtp_ingress", "smtp", 50, b"421 4.7.0 "),
        ("imap_gateway", "imap", 100, b"* BYE [LIMIT] "),
        ("pop3_gateway", "pop3", 100, b"-ERR [SYS/TEMP] "),
    ],
)
async def test_silent_connections_use_up_their_own_limit_only(
    live: Live, service: str, label: str, limit: int, refusal: bytes
) -> None:
    """An address has its share; the next connection is told so, and another address doesn't notice."""
    async with bounded(live, service, growth=16 * MIB):
        port = live.port(service, label)
        for _ in range(limit):
            reader, _ = await live.open(port, source="127.0.0.9")
            assert not (await reader.readline()).startswith(refusal)
        reader, _ = await live.open(port, source="127.0.0.9")
        assert (await reader.readline()).startswith(refusal)
        assert await reader.read() == b""
        reader, _ = await live.open(port, source="127.0.0.10")
        assert not (await reader.readline()).startswith(refusal)
        live.close()
        await asyncio.sleep(0.1)


async def test_half_a_command_and_half_a_message_are_no_mail(live: Live) -> None:
    """Connections that end in the middle of anything leave nothing behind."""
    account = live.account()
    smtp = await live.smtp()
    for line in (f"MAIL FROM:<{OUTSIDER}>", f"RCPT TO:<{account.address}>", "DATA"):
        assert (await smtp.say(line))[0] in "23"
    smtp.send(stuffed(message("half"))[:-3])
    await smtp.writer.drain()
    imap = await live.imap(1, account)
    imap.send(b"a APPEND INBOX {1000+}\r\nSubject: half\r\n")
    await imap.writer.drain()
    for client in (smtp, imap):
        client.writer.transport.abort()
    other = await live.imap(2, account)
    assert b"* 0 EXISTS" in await other.ok("SELECT INBOX")
