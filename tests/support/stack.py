"""The whole platform for tests: one stack of two replicas, shared by all tests that are marked `stack`.

    async def test_something(live: Live) -> None:
        alice = live.account()
        one, two = await live.imap(1, alice, "INBOX"), await live.imap(2, alice, "INBOX")
        await live.deliver(alice, MESSAGE, pod=2)

`live_stack` runs until the end of the tests; `live` is one test's view of it and closes the connections the test has
opened. Each test makes accounts of its own. Whoever stops a process starts it again. Passwords and tokens that were
used are remembered: none may ever be found in a log (`secrets_in_logs`), which is looked at once more at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mailboat_local.layout import StackSettings
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack

from tests.support.imap import Client
from tests.support.rabbitmq import free_ports
from tests.support.wire import Wire

DOMAIN = "live.test"
OUTSIDER = "carol@elsewhere.example"
SENDER = b"From: Carol <carol@elsewhere.example>\r\n"


@dataclass(frozen=True, slots=True)
class Account:
    """A person with a mailbox."""

    address: str
    password: str


class Smtp(Wire):
    """An SMTP client that sees every octet."""

    async def reply(self) -> str:
        """All lines of a reply, joined by `|`."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return "|".join(lines)

    async def transaction(self, sender: str, recipient: str, content: bytes) -> str:
        """MAIL, RCPT, DATA; the last reply, or the first that is no success."""
        for line in (f"MAIL FROM:<{sender}> BODY=8BITMIME", f"RCPT TO:<{recipient}>", "DATA"):
            answer = await self.say(line)
            if answer[0] not in "23":
                return answer
        self.send(stuffed(content))
        return await self.reply()


class LiveStack:
    """The running stack, its accounts and the secrets that were given to it.

    `dns_port` is where the delivery workers look for a DNS server, `mx_port` for mail hosts on 127.0.0.0/8: a test may
    serve there.
    """

    def __init__(self, stack: Stack, dns_port: int, mx_port: int) -> None:
        self.stack = stack
        self.dns_port = dns_port
        self.mx_port = mx_port
        self.tls = ssl.create_default_context(cafile=str(stack.layout.ca))
        self.secrets: set[str] = {path.read_text().strip() for path in stack.layout.tokens.iterdir()}
        self._numbers = itertools.count(1)
        self.rest("POST", "/v1/domains", {"name": DOMAIN})

    def rest(self, method: str, path: str, body: object = None, *, token: str = "") -> Any:
        """A call of the REST API that must succeed, with the first token if no other is given."""
        request = urllib.request.Request(
            self.stack.api_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.stack.env['MB_API_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def account(self) -> Account:
        """A new account that nobody has used."""
        made = Account(f"user{next(self._numbers)}@{DOMAIN}", secrets.token_urlsafe(12))
        self.secrets.add(made.password)
        self.rest("POST", "/v1/accounts", {"address": made.address, "password": made.password})
        return made

    def services(self, *names: str) -> list[str]:
        """The running processes of these services (all if none is named), as `imap_gateway-1`."""
        servers = ("mongod", "epmd", "rabbitmq")
        return [
            process
            for process in self.stack.names
            if (service := process.rpartition("-")[0]) not in servers and (not names or service in names)
        ]

    def rss(self, name: str) -> int:
        """Resident memory of a process, bytes."""
        status = Path(f"/proc/{self.stack.pid(name)}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    def log_lines(self, service: str, start: dict[str, int] | None = None) -> list[dict[str, Any]]:
        """Every JSON line in the logs of a service, from the given offsets on (see `log_ends`)."""
        lines = []
        for path in sorted(self.stack.layout.log.glob(f"{service}-*.log")):
            with path.open("rb") as stream:
                stream.seek((start or {}).get(path.name, 0))
                lines += [json.loads(line) for line in stream if line.startswith(b"{") and line.endswith(b"\n")]
        return lines

    def log_ends(self) -> dict[str, int]:
        """Where each log ends now."""
        return {path.name: path.stat().st_size for path in self.stack.layout.log.glob("*.log")}

    def secrets_in_logs(self) -> list[str]:
        """Logs with a password or token in them."""
        found = []
        needles = [secret.encode() for secret in self.secrets]
        for path in self.stack.layout.log.glob("*.log*"):
            with path.open("rb") as stream:
                found += [f"{path.name}:{n}" for n, line in enumerate(stream, 1) if any(x in line for x in needles)]
        return found


class Live:
    """One test's view of the stack, with clients that are closed behind it."""

    def __init__(self, live_stack: LiveStack) -> None:
        self._whole = live_stack
        self._writers: list[asyncio.StreamWriter] = []
        self.stack = live_stack.stack
        self.tls = live_stack.tls
        self.rest = live_stack.rest
        self.account = live_stack.account
        self.services = live_stack.services
        self.rss = live_stack.rss

    @property
    def whole(self) -> LiveStack:
        """What all tests share."""
        return self._whole

    def port(self, service: str, label: str, pod: int = 1) -> int:
        """`port("imap_gateway", "imaps", 2)`."""
        return self.stack.ports(f"{service}-{pod}")[label]

    async def imap(self, pod: int = 1, account: Account | None = None, select: str = "") -> Client:
        """A connection over TLS with its greeting read, logged in if there is an account, with a mailbox selected."""
        client = Client(*await self.open(self.port("imap_gateway", "imaps", pod), tls=True))
        assert (await client.response()).startswith(b"* OK")
        if account is not None:
            await client.login(account.address, account.password)
        if select:
            await client.ok(f"SELECT {select}")
        return client

    async def smtp(self, pod: int = 1, label: str = "smtp") -> Smtp:
        """A connection with greeting and EHLO done; over TLS on `submissions`."""
        client = Smtp(*await self.open(self.port("smtp_ingress", label, pod), tls=label == "submissions"))
        assert (await client.reply()).startswith("220 ")
        assert (await client.say("EHLO client.example")).startswith("250")
        return client

    async def pop3(self, pod: int = 1, account: Account | None = None) -> Wire:
        """A connection over TLS with its greeting read, logged in if there is an account."""
        client = Wire(*await self.open(self.port("pop3_gateway", "pop3s", pod), tls=True))
        assert (await client.line()).startswith("+OK")
        if account is not None:
            for line in (f"USER {account.address}", f"PASS {account.password}"):
                answer = await client.say(line)
                assert answer.startswith("+OK"), answer
        return client

    async def deliver(self, account: Account, content: bytes, pod: int = 1) -> str:
        """A message from outside on port 25 that must be accepted; the 250 reply."""
        client = await self.smtp(pod)
        answer = await client.transaction(OUTSIDER, account.address, content)
        assert answer.startswith("250 "), answer
        assert (await client.say("QUIT")).startswith("221")
        return answer

    async def open(
        self, port: int, *, tls: bool = False, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Streams that are closed at the test's end. `source`: any address of 127.0.0.0/8, each has limits of its own."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=self.tls if tls else None, server_hostname="localhost" if tls else None,
            local_addr=(source, 0), limit=1 << 26,
        )  # fmt: skip
        self._writers.append(writer)
        return reader, writer

    async def page(self, name: str, path: str) -> tuple[int, str]:
        """A page of a process's admin port: status and text."""
        url = f"http://127.0.0.1:{self.stack.ports(name)['admin']}{path}"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            return answer.status, await answer.text()

    async def failing(self, name: str) -> list[str]:
        """What keeps a process from being ready; ["process"] if its admin port doesn't answer."""
        try:
            _, text = await self.page(name, "/readyz")
        except aiohttp.ClientError:
            return ["process"]
        found: list[str] = json.loads(text)["failing"]
        return found

    async def until_ready(self, *names: str) -> None:
        """Waits until processes (all if none is named) are ready."""
        await asyncio.to_thread(self.stack.wait_ready, names or None, 60.0)

    def close(self) -> None:
        """Every connection of the test ends."""
        for writer in self._writers:
            writer.transport.abort()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for something outside this process that nothing tells us of. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def stuffed(content: bytes) -> bytes:
    """Content as DATA sends it (RFC 5321 4.5.2), with the end."""
    text = re.sub(rb"^\.", b"..", content, flags=re.MULTILINE)
    return text + (b"" if text.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def message(subject: str, body: bytes = b"Hello\r\n") -> bytes:
    """A small message."""
    return SENDER + b"Subject: %b\r\nMessage-ID: <%b@elsewhere.example>\r\n\r\n%b" % (
        subject.encode(), secrets.token_hex(8).encode(), body,
    )  # fmt: skip


@pytest.fixture(scope="session")
def live_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The stack, with two of each service."""
    dns_port, mx_port = free_ports(2)
    outside = {"MB_DNS_SERVERS": f"127.0.0.1:{dns_port}", "MB_MX_PORT": str(mx_port), "MB_MX_NETWORKS": "127.0.0.0/8"}
    settings = StackSettings(port_offset=free_offset(replicas=2), replicas=2, passed_on=outside)
    stack = Stack(tmp_path_factory.mktemp("live") / "stack", settings=settings)
    try:
        stack.up()
        made = LiveStack(stack, dns_port, mx_port)
        yield made
        assert made.secrets_in_logs() == []
    finally:
        stack.down()


@pytest.fixture
async def live(live_stack: LiveStack) -> AsyncIterator[Live]:
    """The stack for one test."""
    view = Live(live_stack)
    yield view
    view.close()
