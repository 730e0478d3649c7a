"""Clients that accept no failure: what a pod being replaced may do to them is to say goodbye between two commands.

Unlike the load of `load.py`, whose clients are killed under and try again, these judge how they are treated. A patron
connects, is served, and goes on for as long as it is let. The only good end of a connection is a goodbye: `421` outside a
transaction, BYE, POP3's `-ERR [SYS/TEMP]`, a REST connection that ends with an answer. It connects again at once, to
whatever replica the balancer gives it. Everything else is noted in `Judge.broken`. What was acknowledged is in
`Judge.kept` (a mailbox's subjects) or `Judge.sent` (copies for other servers), and must be there once in the end; what was
told goodbye instead must not be there.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import aiohttp

from tests.faults.balancer import Balancer
from tests.faults.clients import Closed, Endpoint, ImapClient, Pop3Client, SmtpClient, exists_of
from tests.faults.compose import BOX, SENDER
from tests.faults.harness import Platform
from tests.faults.load import Account

GOODBYES = ("421 4.3.2 ", "* BYE Server is closing", "-ERR [SYS/TEMP] Service restarting")
REMOTE = "d{}.example"
REMOTES = 10
THINK_SECONDS = 0.15  # mean: the load is to be mixed, not heavy
APPENDED = "Subject: {}\r\nMessage-ID: <{}@faults.example>\r\n\r\nkept\r\n"


C = TypeVar("C")


class Failed(Exception):
    """A client was answered what it must not be."""


@dataclass(slots=True)
class Judge:
    """What the patrons met. `goodbyes` holds (kind, event loop's time) of each connection that ended well."""

    done: Counter[str] = field(default_factory=Counter)
    goodbyes: list[tuple[str, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    kept: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sent: Counter[str] = field(default_factory=Counter)
    connected: Counter[str] = field(default_factory=Counter)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Counter[str] = field(default_factory=Counter)

    def name(self, kind: str) -> str:
        """A subject that nobody has used."""
        self._numbers[kind] += 1
        return f"{kind}-{self._numbers[kind]}"

    def ended(self, kind: str, error: Closed, where: str) -> None:
        """A connection is gone."""
        if str(error).startswith(GOODBYES):
            self.goodbyes.append((kind, time.monotonic()))
        else:
            self.broken.append(f"{kind}, {where}: {error}")

    async def more(self, count: int, kinds: Sequence[str], seconds: float = 60.0) -> None:
        """Waits until each kind has done so much more. Raises TimeoutError."""
        wanted = {kind: self.done[kind] + count for kind in kinds}
        async with asyncio.timeout(seconds):
            while any(self.done[kind] < number for kind, number in wanted.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class World:
    """What patrons share. `people`: accounts that get mail and are read over IMAP; `poppers`: over POP3."""

    platform: Platform
    balancer: Balancer
    judge: Judge
    people: Sequence[Account]
    poppers: Sequence[Account]

    def endpoint(self, label: str) -> Endpoint:
        """A listener, as clients reach it."""
        tls = None if label in ("smtp", "rest") else self.platform.tls
        return Endpoint("127.0.0.1", self.balancer.port(label), tls)


class Patron(abc.ABC, Generic[C]):
    """One client. `kind` is its protocol, in counters."""

    kind: str

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.judge, self.rng = world, world.judge, rng

    async def run(self) -> None:
        """Be served until the judge stops."""
        while not self.judge.stopping.is_set():
            try:
                client = await self.connect()
            except Closed as error:
                self.judge.ended(self.kind, error, "connecting")
                await asyncio.sleep(0.05)  # a client's back-off
                continue
            self.judge.connected[self.kind] += 1
            await self._use(client)

    async def _use(self, client: C) -> None:
        where = "between commands"
        try:
            while not self.judge.stopping.is_set():
                where = await self.act(client)
                self.judge.done[self.kind] += 1
                await self._think()
        except Closed as error:
            if self.in_transaction(client):
                self.judge.broken.append(f"{self.kind}: within a transaction: {error}")
            else:
                self.judge.ended(self.kind, error, where)
        except Failed as error:
            self.judge.broken.append(f"{self.kind}: {error}")
        finally:
            await self.leave(client)

    async def _think(self) -> None:
        """A moment until the next command; none once the judge stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.rng.expovariate(1 / THINK_SECONDS)):
                await self.judge.stopping.wait()

    @abc.abstractmethod
    async def connect(self) -> C:
        """A connection that may act. Raises Closed."""

    @abc.abstractmethod
    async def act(self, client: C) -> str:
        """One transaction or command; what it was. Raises Closed or Failed."""

    @abc.abstractmethod
    async def leave(self, client: C) -> None:
        """Drop the connection."""

    def in_transaction(self, client: C) -> bool:
        """Whether a goodbye would cut something off that was begun."""
        return False


class Mta(Patron[SmtpClient]):
    """Another server: mail for one or several of our accounts, on one connection."""

    kind = "smtp"

    async def connect(self) -> SmtpClient:
        return await SmtpClient.connect(self.world.endpoint("smtp"))

    async def act(self, client: SmtpClient) -> str:
        everybody = [*self.world.people, *self.world.poppers]
        some = self.rng.sample(everybody, self.rng.choice((1, 1, 1, 2, 3)))
        name = self.judge.name(self.kind)
        await _send(client, SENDER, [account.address for account in some], name)
        for account in some:
            self.judge.kept[account.address][name] += 1
        return name

    async def leave(self, client: SmtpClient) -> None:
        client.close()

    def in_transaction(self, client: SmtpClient) -> bool:
        return client.in_transaction


class Author(Mta):
    """A person's mail program: submission over TLS, mostly to other servers."""

    kind = "submission"

    async def connect(self) -> SmtpClient:
        client = await SmtpClient.connect(self.world.endpoint("submissions"))
        try:
            await client.login(self.world.people[0].address, self.world.people[0].password)
        except BaseException:
            client.close()
            raise
        return client

    async def act(self, client: SmtpClient) -> str:
        name = self.judge.name(self.kind)
        remote = f"r@{REMOTE.format(self.rng.randrange(REMOTES))}"
        local = self.rng.choice([*self.world.people, *self.world.poppers]).address
        await _send(client, self.world.people[0].address, [remote, local], name)
        self.judge.sent[name] += 1
        self.judge.kept[local][name] += 1
        return name


async def _send(client: SmtpClient, sender: str, recipients: Sequence[str], name: str) -> None:
    content = f"From: <{sender}>\r\n{APPENDED.format(name, name)}".encode()
    code, text = await client.transaction(sender, recipients, content)
    if code != 250:
        raise Failed(f"{name}: {code} {text}")


class Reader(Patron[ImapClient]):
    """A mail program at work: one command after the other."""

    kind = "imap"

    def __init__(self, world: World, rng: random.Random, account: Account) -> None:
        super().__init__(world, rng)
        self._account = account

    async def connect(self) -> ImapClient:
        client = await ImapClient.connect(self.world.endpoint("imaps"), self._account.address, self._account.password)
        try:
            await client.select(BOX)
        except BaseException:
            client.close()
            raise
        return client

    async def act(self, client: ImapClient) -> str:
        append = self.rng.random() < 0.3
        name = self.judge.name(self.kind) if append else ""
        commands = (
            "NOOP",
            "UID FETCH *:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])",
            "UID STORE *:* +FLAGS (\\Seen)",
            'UID SEARCH SUBJECT "smtp"',
            f"STATUS {BOX} (MESSAGES UIDNEXT)",
            'LIST "" *',
        )
        command = f"APPEND {name}" if append else self.rng.choice(commands)
        if append:
            done = await client.append(BOX, APPENDED.format(name, name).encode())
        else:
            done = await client.command(command)
        if done.status != "OK":
            raise Failed(f"{command}: {done.status} {done.text}")
        if append:
            self.judge.kept[self._account.address][name] += 1
        return command

    async def leave(self, client: ImapClient) -> None:
        client.close()


class Waiter(Reader):
    """A phone in IDLE, which is back as soon as it is told to go. An act is something new it heard of."""

    kind = "idle"

    def __init__(self, world: World, rng: random.Random, account: Account) -> None:
        super().__init__(world, rng, account)
        self.waiting = asyncio.Event()
        self._tag: str | None = None

    async def connect(self) -> ImapClient:
        self.waiting.clear()
        self._tag = None
        return await super().connect()

    async def act(self, client: ImapClient) -> str:
        if self._tag is None:
            self._tag = await client.idle()
        while exists_of([response := await client.response(None)]) is None:
            if response.text.startswith(b"+"):
                self.waiting.set()
        return "IDLE"


class Popper(Patron[Pop3Client]):
    """Fetches its mail in short sessions, and removes some."""

    kind = "pop3"

    def __init__(self, world: World, rng: random.Random, account: Account) -> None:
        super().__init__(world, rng)
        self._account = account

    async def connect(self) -> Pop3Client:
        return await Pop3Client.connect(self.world.endpoint("pop3s"))

    async def act(self, client: Pop3Client) -> str:
        """A whole session, QUIT included: then the next is another connection's."""
        await self._ok(client, f"USER {self._account.address}")
        await self._ok(client, f"PASS {self._account.password}")
        count = int((await self._ok(client, "STAT")).split()[1])
        await self._ok(client, "UIDL", lines=True)
        fetched = ""
        if count:
            _, content = await client.command("RETR 1", lines=True)
            found = re.search(rb"^Subject: (\S+)\r$", content, re.MULTILINE)
            if found is None:
                raise Failed(f"RETR 1 of {count} has no subject: {content[:200]!r}")
            fetched = found[1].decode()
            await self._ok(client, "DELE 1")
        await self._ok(client, "QUIT")
        if fetched:
            self.judge.kept[self._account.address][fetched] -= 1
        self.judge.done[self.kind] += 1
        raise _Over

    async def _ok(self, client: Pop3Client, command: str, lines: bool = False) -> str:
        reply, _ = await client.command(command, lines)
        if not reply.startswith("+OK"):
            raise Failed(f"{command.partition(' ')[0]}: {reply}")
        await self._think()
        return reply

    async def _use(self, client: Pop3Client) -> None:
        with contextlib.suppress(_Over):
            await super()._use(client)
        await self._think()

    async def leave(self, client: Pop3Client) -> None:
        client.close()


class _Over(Exception):
    """A session ended as it should."""


class Caller(Patron[aiohttp.ClientSession]):
    """Another system: REST on one connection that is kept. A POST whose connection ends without an answer has failed."""

    kind = "rest"

    async def connect(self) -> aiohttp.ClientSession:
        token = self.world.platform.stack.env["MB_API_TOKEN"]
        return aiohttp.ClientSession(
            f"http://127.0.0.1:{self.world.balancer.port('rest')}",
            headers={"authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=60),
        )

    async def act(self, client: aiohttp.ClientSession) -> str:
        account = self.rng.choice(self.world.people)
        name = self.judge.name(self.kind)
        root = f"/v1/accounts/{account.address}"
        what = self.rng.choice(("look", "append", "submit"))
        if what == "look":
            await self._call(client, "GET", f"{root}/mailboxes")
        elif what == "append":
            content = APPENDED.format(name, name)
            await self._call(client, "POST", f"{root}/mailboxes/{BOX}/messages", content, "message/rfc822")
            self.judge.kept[account.address][name] += 1
        else:
            remote = f"r@{REMOTE.format(self.rng.randrange(REMOTES))}"
            mail = {"from": account.address, "to": [remote], "subject": name, "text": "sent"}
            await self._call(client, "POST", f"{root}/submit", json.dumps(mail), "application/json")
            self.judge.sent[name] += 1
        return what

    async def _call(
        self, client: aiohttp.ClientSession, method: str, path: str, body: str | None = None, kind: str = ""
    ) -> None:
        headers = {"content-type": kind} if kind else {}
        try:
            async with client.request(method, path, data=body, headers=headers) as answer:
                text = await answer.text()
                if answer.headers.get("connection", "").lower() == "close":
                    self.judge.goodbyes.append((self.kind, time.monotonic()))
        except aiohttp.ClientError as error:
            raise Failed(f"{method} {path}: {error!r}") from error
        if not 200 <= answer.status < 300:
            raise Failed(f"{method} {path}: {answer.status} {text}")

    async def leave(self, client: aiohttp.ClientSession) -> None:
        await client.close()
