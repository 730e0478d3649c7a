"""Certificates renewed under open sessions, and processes ended by SIGTERM under load: nobody's work is lost."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import trustme
from cryptography import x509
from mailboat_local.layout import Layout

from tests.support.imap import Client
from tests.support.stack import OUTSIDER, Account, Live, Smtp, message, stuffed
from tests.support.wire import Wire

pytestmark = pytest.mark.stack
RELOAD_SECONDS = 15.0


def serial(writer: asyncio.StreamWriter) -> int:
    """The serial number of the certificate the server has shown."""
    session: ssl.SSLObject = writer.get_extra_info("ssl_object")
    shown = session.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def renew(layout: Layout) -> int:
    """Puts a new pair of the stack's own authority in place of the served one; its serial number."""
    authority = trustme.CA.from_pem(layout.ca.read_bytes(), (layout.tls / "ca.key").read_bytes())
    # Like the pair it replaces: some clients (fetchmail, offlineimap) want a common name in it.
    leaf = authority.issue_cert("mail.example.test", "localhost", "127.0.0.1", "::1", common_name="localhost")
    for name, content in (
        ("tls.key", leaf.private_key_pem.bytes()),
        ("tls.crt", b"".join(blob.bytes() for blob in leaf.cert_chain_pems)),
    ):
        fresh = layout.server_tls / f".{name}"
        fresh.write_bytes(content)
        fresh.replace(layout.server_tls / name)
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number


async def until_served(live: Live, number: int) -> None:
    """Waits until new connections to every TLS port of both pods get this certificate."""
    ports = [("smtp_ingress", "submissions"), ("imap_gateway", "imaps"), ("pop3_gateway", "pop3s")]
    async with asyncio.timeout(RELOAD_SECONDS):
        for service, label in ports:
            for pod in (1, 2):
                shown = 0
                while shown != number:
                    _, writer = await live.open(live.port(service, label, pod), tls=True)
                    shown = serial(writer)
                    writer.close()
                    await asyncio.sleep(0.05)


async def test_a_renewed_certificate_is_served_and_open_sessions_stay(live: Live) -> None:
    account = live.account()
    imap, pop3 = await live.imap(1, account, "INBOX"), await live.pop3(2, account)
    smtp = await live.smtp(1, "submissions")
    old = serial(imap.writer)
    # A pair that doesn't load changes nothing, is told to operators, and is mended by the next.
    (live.stack.layout.server_tls / "tls.crt").write_text("half a certif")
    async with asyncio.timeout(RELOAD_SECONDS):
        while failures("0.0") in (await live.page("pop3_gateway-1", "/metrics"))[1]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert serial((await live.pop3(1)).writer) == old
    new = renew(live.stack.layout)
    await until_served(live, new)
    assert await imap.ok("NOOP") == []
    assert (await pop3.say("NOOP")).startswith("+OK")
    assert (await smtp.say("NOOP")).startswith("250")
    assert serial(imap.writer) == serial(pop3.writer) == serial(smtp.writer) == old != new
    with_tls = [line for line in (await live.page("pop3_gateway-1", "/metrics"))[1].splitlines() if "not_after" in line]
    assert any(
        line.startswith('mailboat_tls_certificate_not_after_timestamp_seconds{certificate="tls"}') for line in with_tls
    )


def failures(count: str) -> str:
    """The metric's line."""
    return f"mailboat_tls_reload_failures_total {count}"


class Judge:
    """What a load of small clients met. `broken` is what must not happen."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.broken: list[str] = []
        self.accepted: list[bytes] = []
        self.stop = asyncio.Event()


@contextlib.asynccontextmanager
async def reconnecting() -> AsyncIterator[None]:
    """Refused or ended connections are the client's to repeat."""
    try:
        yield
    except (OSError, asyncio.IncompleteReadError):
        await asyncio.sleep(0.02)


async def sending(live: Live, judge: Judge, account: Account, pod: int) -> None:
    """Transactions on one connection; one that was begun must end with 250."""
    number = 0
    while not judge.stop.is_set():
        async with reconnecting():
            client = Smtp(*await live.open(live.port("smtp_ingress", "smtp", pod)))
            if not (await client.reply()).startswith("220"):
                continue
            while not judge.stop.is_set():
                number += 1
                name = f"smtp-{pod}-{number}"
                if not await transaction(judge, client, account, name):
                    break
            client.writer.close()


async def transaction(judge: Judge, client: Smtp, account: Account, name: str) -> bool:
    """EHLO or RSET, then a message. False: the connection ended where it may."""
    try:
        first = await client.say("EHLO load.example")
        started = await client.say(f"MAIL FROM:<{OUTSIDER}>") if first.startswith("250") else first
    except (OSError, asyncio.IncompleteReadError):
        judge.ended["smtp"] += 1
        return False
    if not started.startswith("250"):
        if not started.startswith("421"):
            judge.broken.append(f"{name}: {started}")
        judge.ended["smtp"] += 1
        return False
    try:
        for line in (f"RCPT TO:<{account.address}>", "DATA"):
            answer = await client.say(line)
            if answer[0] not in "23":
                judge.broken.append(f"{name}: {line}: {answer}")
                return False
        client.send(stuffed(message(name)))
        answer = await client.reply()
    except (OSError, asyncio.IncompleteReadError) as error:
        judge.broken.append(f"{name}: cut off within the transaction: {error!r}")
        return False
    if not answer.startswith("250"):
        judge.broken.append(f"{name}: {answer}")
        return False
    judge.done["smtp"] += 1
    judge.accepted.append(name.encode())
    return True


async def appending(live: Live, judge: Judge, account: Account, pod: int) -> None:
    """APPEND and FETCH. A command answered with BYE or an end must not have been done."""
    number = 0
    while not judge.stop.is_set():
        async with reconnecting():
            client = Client(*await live.open(live.port("imap_gateway", "imaps", pod), tls=True))
            if not (await client.response()).startswith(b"* OK"):
                continue
            if b" OK" not in (await client.command(f'LOGIN {account.address} "{account.password}"'))[-1]:
                continue
            while not judge.stop.is_set():
                number += 1
                name = f"imap-{pod}-{number}"
                answer = await client.append("INBOX", message(name))
                if b" OK " not in answer:
                    if answer:
                        judge.broken.append(f"{name}: {answer!r}")
                    judge.ended["imap"] += 1
                    break
                judge.done["imap"] += 1
                judge.accepted.append(name.encode())
            client.writer.close()


async def reading(live: Live, judge: Judge, account: Account, pod: int) -> None:
    """Short POP3 sessions. One that was let in is served or told before it ends."""
    while not judge.stop.is_set():
        async with reconnecting():
            client = Wire(*await live.open(live.port("pop3_gateway", "pop3s", pod), tls=True))
            for line in ("", f"USER {account.address}", f"PASS {account.password}", "STAT", "QUIT"):
                answer = await (client.say(line) if line else client.line())
                if not answer.startswith("+OK"):
                    if not answer.startswith(("-ERR [SYS/TEMP] Service restarting", "-ERR [IN-USE]")):
                        judge.broken.append(f"pop3-{pod}: {line}: {answer}")
                    judge.ended["pop3"] += 1
                    break
            else:
                judge.done["pop3"] += 1
            client.writer.close()
            await asyncio.sleep(0.02)


ROUNDS = [
    pytest.param(("smtp_ingress-1", "imap_gateway-1", "pop3_gateway-1"), id="gateways"),
    pytest.param(("storage_api-1", "storage_worker-1", "delivery_worker-1"), id="storage"),
]


@pytest.mark.parametrize("drained", ROUNDS)
async def test_sigterm_under_load(live: Live, drained: tuple[str, ...]) -> None:
    """One replica of each is drained and comes back while clients work on both: nothing fails, is lost or doubled."""
    judge = Judge()
    writers, reader = live.account(), [live.account(), live.account()]
    ends = live.whole.log_ends()
    async with asyncio.TaskGroup() as tasks:
        for pod in (1, 2):
            tasks.create_task(sending(live, judge, writers, pod))
            tasks.create_task(appending(live, judge, writers, pod))
            tasks.create_task(reading(live, judge, reader[pod - 1], pod))
        await enough(judge, 10)
        await asyncio.to_thread(live.stack.processes.stop, drained, 30.0)
        await enough(judge, 10)
        for name in drained:
            await asyncio.to_thread(live.stack.start, name, None)
        await live.until_ready(*drained)
        await enough(judge, 10)
        judge.stop.set()
    print(f"done {dict(judge.done)}, ended {dict(judge.ended)}")
    assert judge.broken == []
    gateways = drained[0].startswith("smtp")
    assert bool(judge.ended["smtp"] + judge.ended["imap"]) == gateways, judge.ended
    for name in drained:
        last = [line for line in live.whole.log_lines(name.rpartition("-")[0], ends) if line["event"] == "ended"]
        assert [line["status"] for line in last] == [0], name
    client = await live.imap(2, writers, "INBOX")
    subjects = [
        re.findall(rb"Subject: (.*)\r", line)[0]
        for line in await client.ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
    ]
    assert Counter(subjects) == Counter(judge.accepted)


async def enough(judge: Judge, count: int) -> None:
    """Waits until each protocol has done so much more."""
    wanted = {protocol: judge.done[protocol] + count for protocol in ("smtp", "imap", "pop3")}
    async with asyncio.timeout(30):
        while any(judge.done[protocol] < number for protocol, number in wanted.items()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
