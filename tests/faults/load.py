"""The load: senders, mailbox users and watchers that write down every promise they were given.

A sender is a good MTA: what got no answer, or a 4xx, it offers again, the same bytes, to any pod, until it is told 250;
now and then it drops a connection before the answer on purpose. A mailbox user appends, flags and expunges in its own
account, and never again touches an entry after a change without an answer. A watcher waits in IDLE. All choose by a
seeded generator; the standard library and nothing of the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.faults.auditor import (
    Change,
    Finding,
    Kind,
    Ledger,
    Message,
    Observed,
    Removal,
    Row,
    Watch,
    compare_views,
    judge,
    token_of,
)
from tests.faults.clients import (
    Closed,
    Done,
    Endpoint,
    ImapClient,
    Response,
    SmtpClient,
    Stuck,
    exists_of,
    expunge_of,
    fetch_of,
)

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "$Forwarded", "paid")
SENDER = "sender@faults.example"
BOX = "INBOX"
SETTLE_SECONDS = 30.0
FINISH_SECONDS = 90.0
CROWD_AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Account:
    """One account that takes part."""

    address: str
    password: str


@dataclass(frozen=True, slots=True)
class Sites:
    """The pods' addresses."""

    smtp: tuple[Endpoint, ...]
    imap: tuple[Endpoint, ...]


@dataclass(slots=True)
class Mix:
    """What the load is made of. `pause`: mean seconds between an actor's actions."""

    senders: int = 3
    recipients: float = 0.3  # share of messages with several recipients
    crowd: float = 0.0  # share of messages for every mailbox there is, the crowd's too
    large: float = 0.03  # share of messages with an attachment that becomes a blob
    drop: float = 0.05  # share of transactions whose sender leaves before the answer
    append: float = 4.0  # weights of what a mailbox user does
    store: float = 4.0
    expunge: float = 2.0
    batch: int = 12  # most entries of one STORE or EXPUNGE
    pause: float = 0.02


@dataclass(slots=True)
class _Entry:
    uid: int
    flags: frozenset[str]


class Load:
    """One run: `start`, then `stop` (which waits until every sender has its 250), then `verdict`."""

    def __init__(
        self,
        sites: Sites,
        accounts: Sequence[Account],
        seed: int,
        mix: Mix | None = None,
        crowd: Sequence[Account] = (),
    ) -> None:
        """`crowd`: accounts that only get mail, and are only looked at in the end."""
        self.sites = sites
        self.accounts = list(accounts)
        self.crowd = list(crowd)
        self.ledger = Ledger()
        self.watches = [
            Watch(account.address, f"watcher on pod {n + 1}", self.ledger)
            for account in accounts
            for n in range(len(sites.imap))
        ]
        self.mix = mix or Mix()
        self._seed = seed
        self._count = 0
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()
        self._actors: list[asyncio.Task[None]] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """All actors at once; returns when every watcher has seen its mailbox."""
        for n, watch in enumerate(self.watches):
            account = self.accounts[n // len(self.sites.imap)]
            preferred = self.sites.imap[n % len(self.sites.imap)]
            self._watchers.append(asyncio.create_task(_Watcher(self, watch, account, preferred).run()))
        await self.until(lambda: all(watch.uid_validity is not None for watch in self.watches))
        for n in range(self.mix.senders):
            self._actors.append(asyncio.create_task(_Sender(self, self.rng(f"sender {n}")).run()))
        for account in self.accounts:
            self._actors.append(asyncio.create_task(_User(self, account, self.rng(account.address)).run()))

    async def stop(self) -> None:
        """No new actions; waits until those under way have ended. An actor that died of a bug raises here."""
        self._stopping.set()
        async with asyncio.timeout(FINISH_SECONDS):
            await asyncio.gather(*self._actors)

    async def close(self) -> None:
        """End all actors, watchers included."""
        for task in (*self._actors, *self._watchers):
            task.cancel()
        await asyncio.gather(*self._actors, *self._watchers, return_exceptions=True)

    async def verdict(self) -> list[Finding]:
        """The last word to every mailbox, then the judgement once all is at rest (or SETTLE_SECONDS have passed)."""
        await self.deliver_to_all(self.sites.smtp)
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            findings = await self._judge()
            passing = [finding for finding in findings if finding not in self.ledger.findings]
            if not passing or time.monotonic() > deadline:
                return findings
            self._news.clear()
            await _either(self._news, 0.5)

    async def _judge(self) -> list[Finding]:
        observed: dict[str, Observed] = {}
        findings: list[Finding] = []

        async def look(account: Account, endpoints: Sequence[Endpoint]) -> None:
            views = [await observe(endpoint, account) for endpoint in endpoints]
            observed[account.address] = views[0]
            for other in views[1:]:
                findings.extend(compare_views(account.address, views[0], other))

        await asyncio.gather(*(look(account, self.sites.imap) for account in self.accounts))
        for start in range(0, len(self.crowd), CROWD_AT_ONCE):
            some = self.crowd[start : start + CROWD_AT_ONCE]
            await asyncio.gather(*(look(account, self.sites.imap[:1]) for account in some))
        return findings + judge(self.ledger, observed, self.watches)

    async def deliver_to_all(self, endpoints: Sequence[Endpoint], since: float | None = None) -> dict[str, float]:
        """One message to each mailbox at the same time, offered until taken: box -> seconds since `since`.

        Raises TimeoutError after FINISH_SECONDS.
        """
        began = time.monotonic() if since is None else since

        async def one(account: Account) -> tuple[str, float]:
            await self.deliver((account.address,), endpoints)
            return account.address, time.monotonic() - began

        async with asyncio.timeout(FINISH_SECONDS):
            return dict(await asyncio.gather(*map(one, self.accounts)))

    # By hand, where no actor is at work

    async def deliver(self, recipients: Sequence[str], endpoints: Sequence[Endpoint] = ()) -> Message:
        """One message for these addresses, offered until it is taken."""
        sender = _Sender(self, self.rng(f"hand {self._count}"), endpoints)
        try:
            return await sender.send(recipients)
        finally:
            sender.close()

    async def append(
        self, client: ImapClient, account: Account, flags: str = "", picture: int | None = None
    ) -> Message:
        """One message, surely appended; `picture`: with that attachment."""
        token = self.new_token()
        content = compose(token, self.rng(token), picture)
        message = self.ledger.offer(token, content, (account.address,), False, time.monotonic())
        message.flags = frozenset(flags.split())
        done = await client.append(BOX, content, flags)
        assert done.status == "OK", done
        message.acked = time.monotonic()
        message.uid = _append_uid(done)
        return message

    async def remove(self, client: ImapClient, account: Account, messages: Sequence[Message]) -> None:
        """Expunge appended messages, surely; the mailbox is selected."""
        now = time.monotonic()
        uids = [message.uid for message in messages if message.uid is not None]
        for command in (f"UID STORE {_uid_set(uids)} +FLAGS.SILENT (\\Deleted)", f"UID EXPUNGE {_uid_set(uids)}"):
            done = await client.command(command)
            assert done.status == "OK", done
        for message, uid in zip(messages, uids, strict=True):
            self.ledger.removals.append(Removal(account.address, message.token, uid, now, time.monotonic()))

    # What actors share

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def rng(self, name: str) -> random.Random:
        return random.Random(f"{self._seed} {name}")

    def new_token(self) -> str:
        self._count += 1
        return f"m{self._count}.{self._seed}"

    def heard(self) -> None:
        """A watcher was told something."""
        self._news.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until a condition of the ledger or the watches holds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await _either(self._news, 0.02)

    async def pause(self, rng: random.Random) -> None:
        """The actor thinks; cut short when the run ends."""
        await _either(self._stopping, rng.expovariate(1 / self.mix.pause))

    def figures(self) -> str:
        """What was done, for the report."""
        acked = [m for m in self.ledger.messages.values() if m.acked is not None]
        again = sum(m.offers - 1 for m in self.ledger.messages.values() if m.offers > 1)
        changes = sum(c.acked is not None for c in self.ledger.changes)
        doubt = len(self.ledger.changes) - changes
        gone = sum(r.acked is not None for r in self.ledger.removals)
        seen = sum(len(watch.seen_at) for watch in self.watches)
        return (
            f"{len(acked)} messages acknowledged ({again} offered again, {len(self.ledger.messages) - len(acked)} in "
            f"doubt), {changes} flag changes ({doubt} in doubt), {gone} expunged, {seen} arrivals watched"
        )


async def observe(endpoint: Endpoint, account: Account) -> Observed:
    """The mailbox as a fresh session shows it, with every message's bytes."""
    client = await patiently(lambda: ImapClient.connect(endpoint, account.address, account.password))
    try:
        selected = await client.select(BOX)
        done = await client.command("UID FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[])")
        rows = []
        for response in done.untagged:
            fetched = fetch_of(response)
            if fetched is None or fetched.literal is None:
                continue
            assert fetched.uid is not None
            assert fetched.modseq is not None
            assert fetched.flags is not None
            rows.append(Row(fetched.uid, fetched.modseq, fetched.flags, fetched.literal))
        if done.status != "OK" or len(rows) < selected.exists:
            raise Closed(f"FETCH showed {len(rows)} of {selected.exists}: {done.status} {done.text}")
        return Observed(selected.uid_validity, selected.uid_next, selected.highest_modseq, tuple(rows))
    finally:
        client.close()


async def patiently(connect: Callable[[], Awaitable[ImapClient]], seconds: float = 30.0) -> ImapClient:
    """A connection to a pod that may be starting. Raises Closed when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await connect()
        except Closed:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)  # between two tries at a foreign server


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class _Sender:
    """One sending MTA."""

    def __init__(self, load: Load, rng: random.Random, endpoints: Sequence[Endpoint] = ()) -> None:
        self._load = load
        self._rng = rng
        self._endpoints = endpoints or load.sites.smtp
        self._client: SmtpClient | None = None

    async def run(self) -> None:
        mix = self._load.mix
        while not self._load.stopping:
            await self.send(self._recipients(mix), drop=self._rng.random() < mix.drop)
            await self._load.pause(self._rng)
        self.close()

    def _recipients(self, mix: Mix) -> list[str]:
        addresses = [account.address for account in self._load.accounts]
        if self._rng.random() < mix.crowd:
            return addresses + [account.address for account in self._load.crowd]
        several = len(addresses) > 1 and self._rng.random() < mix.recipients
        return self._rng.sample(addresses, self._rng.randint(2, len(addresses)) if several else 1)

    async def send(self, recipients: Sequence[str], drop: bool = False) -> Message:
        """One message, offered until it is taken; `drop`: leave before the first answer."""
        token = self._load.new_token()
        content = compose(token, self._rng, self._picture())
        message = self._load.ledger.offer(token, content, recipients, True, time.monotonic())
        while message.acked is None:
            try:
                if self._client is None:
                    self._client = await SmtpClient.connect(self._rng.choice(list(self._endpoints)))
                message.offers += 1
                leave = drop and message.offers == 1
                code, text = await self._client.transaction(SENDER, recipients, content, leave=leave)
            except Closed as error:
                if isinstance(error, Stuck):
                    self._load.ledger.note(Kind.STUCK, recipients[0], f"SMTP, {token}: {error}")
                self.close()
                await asyncio.sleep(self._rng.uniform(0.01, 0.05))  # a peer's back-off
                continue
            if code == 250:
                message.acked = time.monotonic()
            elif code >= 500:
                self._load.ledger.note(Kind.REFUSED, recipients[0], f"{token}: {code} {text}")
                return message
            else:
                await asyncio.sleep(self._rng.uniform(0.05, 0.2))  # a peer's back-off
        return message

    def _picture(self) -> int | None:
        return self._rng.randint(1, 5) if self._rng.random() < self._load.mix.large else None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


class _User:
    """One account's user: the only one who changes or removes entries there."""

    def __init__(self, load: Load, account: Account, rng: random.Random) -> None:
        self._load = load
        self._ledger = load.ledger
        self._account = account
        self._box = account.address
        self._rng = rng
        self._known: dict[str, _Entry] = {}
        self._doubtful: set[str] = set()
        self._met: set[str] = set()
        self._last_uid = 0

    async def run(self) -> None:
        client: ImapClient | None = None
        mix = self._load.mix
        actions = (self._append, self._store, self._expunge)
        while not self._load.stopping:
            try:
                if client is None:
                    endpoint = self._rng.choice(self._load.sites.imap)
                    client = await ImapClient.connect(endpoint, self._account.address, self._account.password)
                    await client.select(BOX)
                    await self._learn(client)
                (action,) = self._rng.choices(actions, (mix.append, mix.store, mix.expunge))
                await action(client)
            except Closed as error:
                if isinstance(error, Stuck):
                    self._ledger.note(Kind.STUCK, self._box, f"IMAP: {error}")
                if client is not None:
                    client.close()
                client = None
            await self._load.pause(self._rng)
        if client is not None:
            client.close()

    async def _append(self, client: ImapClient) -> None:
        token = self._load.new_token()
        content = compose(token, self._rng, self._picture())
        message = self._ledger.offer(token, content, (self._box,), False, time.monotonic())
        message.flags = frozenset(self._rng.sample(FLAGS, self._rng.randint(0, 2)))
        message.offers = 1
        done = await client.append(BOX, content, " ".join(sorted(message.flags)))
        if done.status != "OK":
            return
        message.acked = time.monotonic()
        message.uid = _append_uid(done)
        await self._learn(client)

    def _picture(self) -> int | None:
        return self._rng.randint(1, 5) if self._rng.random() < self._load.mix.large else None

    async def _learn(self, client: ImapClient) -> None:
        """What has arrived since the last look."""
        done = await client.command(f"UID FETCH {self._last_uid + 1}:* (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        for response in done.untagged:
            fetched = fetch_of(response)
            if fetched is None or fetched.literal is None or fetched.uid is None or fetched.uid <= self._last_uid:
                continue
            token = token_of(fetched.literal)
            if token in self._ledger.messages and token not in self._met:
                self._met.add(token)
                self._known[token] = _Entry(fetched.uid, self._ledger.messages[token].flags)
            self._last_uid = fetched.uid

    async def _store(self, client: ImapClient) -> None:
        flag, add = self._rng.choice(FLAGS), self._rng.random() < 0.6
        fitting = [token for token, entry in self._known.items() if (flag in entry.flags) != add]
        await self._change(client, self._some(fitting), flag, add)
        if self._rng.random() < 0.3:
            await self._learn(client)

    def _some(self, tokens: Sequence[str]) -> list[str]:
        usable = [token for token in tokens if token not in self._doubtful]
        count = self._rng.choice((1, self._rng.randint(1, self._load.mix.batch)))
        return self._rng.sample(usable, min(count, len(usable)))

    async def _change(self, client: ImapClient, tokens: Sequence[str], flag: str, add: bool) -> bool:
        if not tokens:
            return False
        now = time.monotonic()
        changes = {
            self._known[t].uid: Change(self._box, t, self._known[t].uid, add, frozenset({flag}), now) for t in tokens
        }
        self._ledger.changes += changes.values()
        self._doubtful |= set(tokens)
        done = await client.command(f"UID STORE {_uid_set(changes)} {'+' if add else '-'}FLAGS ({flag})")
        if done.status != "OK":
            return False
        for response in done.untagged:
            fetched = fetch_of(response)
            if fetched is not None and fetched.uid in changes:
                changes[fetched.uid].modseq = fetched.modseq
        for change in changes.values():
            change.acked = time.monotonic()
            entry = self._known[change.token]
            entry.flags = entry.flags | change.flags if add else entry.flags - change.flags
        self._doubtful -= set(tokens)
        return True

    async def _expunge(self, client: ImapClient) -> None:
        tokens = self._some([token for token, entry in self._known.items() if "\\Deleted" not in entry.flags])
        if len(self._known) < 8 or not await self._change(client, tokens, "\\Deleted", True):
            return
        removals = [Removal(self._box, token, self._known.pop(token).uid, time.monotonic()) for token in tokens]
        self._ledger.removals += removals
        uids = [removal.uid for removal in removals]
        done = await client.command(f"UID EXPUNGE {_uid_set(uids)}")
        if done.status == "OK":
            for removal in removals:
                removal.acked = time.monotonic()


class _Watcher:
    """One client in IDLE, which looks at what arrives and waits again; back as soon as its connection is gone."""

    def __init__(self, load: Load, watch: Watch, account: Account, preferred: Endpoint) -> None:
        self._load = load
        self._watch = watch
        self._account = account
        self._endpoints = [preferred, *(other for other in load.sites.imap if other is not preferred)]

    async def run(self) -> None:
        turn = 0
        while True:
            client: ImapClient | None = None
            try:
                endpoint = self._endpoints[turn % len(self._endpoints)]
                client = await ImapClient.connect(endpoint, self._account.address, self._account.password)
                await self._watch_with(client)
            except Closed as error:
                if isinstance(error, Stuck):
                    self._load.ledger.note(Kind.STUCK, self._watch.box, f"{self._watch.name}: {error}")
                turn = 0 if client is not None else turn + 1  # its own pod first, another if that is away
                await asyncio.sleep(0.05)  # a client's back-off
            finally:
                if client is not None:
                    client.close()

    async def _watch_with(self, client: ImapClient) -> None:
        selected = await client.select(BOX)
        self._watch.selected(selected.exists, selected.uid_validity, selected.uid_next, selected.highest_modseq)
        while True:
            await self._catch_up(client)
            tag = await client.idle()
            while not self._watch.next_unknown:
                self._hear(await client.response(None))
            for response in (await client.done(tag)).untagged:
                self._hear(response)

    async def _catch_up(self, client: ImapClient) -> None:
        rounds = 0
        while first := self._watch.next_unknown:
            rounds += 1
            if rounds > 5:
                self._load.ledger.note(
                    Kind.DISAGREE, self._watch.box, f"{self._watch.name}: UID {first}:* stays unknown"
                )
                raise Closed("entries that were announced cannot be fetched")
            command = f"UID FETCH {first}:* (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
            for response in (await client.command(command)).untagged:
                self._hear(response)
        self._watch.caught_up()

    def _hear(self, response: Response) -> None:
        count = exists_of([response])
        if count is not None:
            self._watch.exists(count)
        elif (seq := expunge_of(response)) is not None:
            self._watch.expunged(seq)
        elif (fetched := fetch_of(response)) is not None:
            token = token_of(fetched.literal) if fetched.literal is not None else None
            self._watch.fetched(
                fetched.seq,
                uid=fetched.uid,
                flags=fetched.flags,
                modseq=fetched.modseq,
                token=token or None,
                now=time.monotonic(),
            )
        self._load.heard()


def compose(token: str, rng: random.Random, picture: int | None = None) -> bytes:
    """A message: text of 50 to 6,000 octets with awkward lines; with an attachment of 150 KB, the same for a number."""
    head = (
        f"From: Sender <{SENDER}>\r\nTo: undisclosed-recipients:;\r\nSubject: message {token}\r\n"
        f"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{token}@faults.example>\r\nMIME-Version: 1.0\r\n"
    )
    lines = [".", "..", "From nobody", "plain text " * rng.randint(0, 6), "x" * rng.randint(0, 70)]
    text = "".join(f"{rng.choice(lines)}\r\n" for _ in range(rng.randint(3, 100)))
    if picture is None:
        return f"{head}Content-Type: text/plain\r\n\r\n{text}".encode()
    data = random.Random(picture).randbytes(75_000).hex()
    body = "\r\n".join(data[at : at + 76] for at in range(0, len(data), 76))
    return (
        f'{head}Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n{text}\r\n'
        f"--b\r\nContent-Type: application/octet-stream\r\n\r\n{body}\r\n--b--\r\n"
    ).encode()


def _append_uid(done: Done) -> int:
    """The UID in `[APPENDUID validity uid]` (RFC 4315)."""
    return int(done.text.partition("APPENDUID ")[2].partition("]")[0].split()[1])


def _uid_set(uids: Sequence[int] | dict[int, Change]) -> str:
    return ",".join(map(str, sorted(uids)))
