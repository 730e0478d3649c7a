"""The load: senders, mailbox users and watchers that write down every promise they were given.

A sender is a good MTA: what got no answer, or a 4xx, it offers again, the same bytes, to any pod, until it is told 250;
now and then it drops a connection before the answer on purpose. A mailbox user appends, flags, copies, moves and
expunges in its own account, and never again touches an entry after a change without an answer. A maildrop's user
retrieves and deletes by POP3. A watcher waits in IDLE. All choose by a seeded generator; the standard library and
nothing of the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tests.faults.auditor import (
    Finding,
    Kind,
    Ledger,
    Message,
    Observed,
    Removal,
    Row,
    Watch,
    compare_maildrop,
    compare_views,
    judge,
    token_of,
)
from tests.faults.clients import (
    Closed,
    Endpoint,
    ImapClient,
    Response,
    SmtpClient,
    Stuck,
    exists_of,
    expunge_of,
    fetch_of,
)
from tests.faults.compose import ARCHIVE, BOX, GONE, SENDER, append_uid, archive_of, compose, uid_set
from tests.faults.mailbox_user import MailboxUser
from tests.faults.maildrop_user import MaildropUser, retrieve_all

SETTLE_SECONDS = 30.0
FINISH_SECONDS = 90.0
CROWD_AT_ONCE = 6
LEASE_SECONDS = 75.0
"""A maildrop may be held for a minute by a session whose server died."""

Got = TypeVar("Got")


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
    pop3: tuple[Endpoint, ...] = ()


class Actor(Protocol):
    """Somebody else who takes part."""

    async def run(self) -> None:
        """Acts until the load is stopping and what was begun has its answer."""


Judge = Callable[[Mapping[str, Observed]], Awaitable[list[Finding]]]
"""Judges what the load's own judge doesn't know, given every mailbox."""


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
    copy: float = 0.7
    move: float = 1.0
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
        *,
        maildrops: Sequence[Account] = (),
    ) -> None:
        """`crowd`: accounts that only get mail, and are only looked at in the end; `maildrops`: those used by POP3."""
        self.sites = sites
        self.accounts = [*accounts, *maildrops]
        self.maildrops = list(maildrops)
        self.actors: list[Actor] = []
        self.judges: list[Judge] = []
        self.crowd = list(crowd)
        self.ledger = Ledger()
        self.watches = [
            Watch(account.address, f"watcher on pod {n + 1}", self.ledger)
            for account in self.accounts
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
            self._actors.append(asyncio.create_task(Sender(self, self.rng(f"sender {n}")).run()))
        for account in self.accounts:
            user = MaildropUser if account in self.maildrops else MailboxUser
            self._actors.append(asyncio.create_task(user(self, account, self.rng(account.address)).run()))
        self._actors += [asyncio.create_task(actor.run()) for actor in self.actors]

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
            archive = archive_of(account.address)
            boxes = {account.address: BOX} | ({archive: ARCHIVE} if archive in targets else {})
            for box, mailbox in boxes.items():
                views = [await observe(endpoint, account, mailbox) for endpoint in endpoints]
                observed[box] = views[0]
                for other in views[1:]:
                    findings.extend(compare_views(box, views[0], other))

        targets = {transfer.target for transfer in self.ledger.transfers}
        await asyncio.gather(*(look(account, self.sites.imap) for account in self.accounts))
        for start in range(0, len(self.crowd), CROWD_AT_ONCE):
            some = self.crowd[start : start + CROWD_AT_ONCE]
            await asyncio.gather(*(look(account, self.sites.imap[:1]) for account in some))
        for account in self.maildrops:
            again = functools.partial(retrieve_all, self.sites.pop3[0], account)
            retrieved = await patiently(again, LEASE_SECONDS)
            findings += compare_maildrop(account.address, observed[account.address], retrieved)
        for more in self.judges:
            findings += await more(observed)
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
        sender = Sender(self, self.rng(f"hand {self._count}"), endpoints)
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
        message.uid = append_uid(done)
        return message

    async def remove(self, client: ImapClient, account: Account, messages: Sequence[Message]) -> None:
        """Expunge appended messages, surely; the mailbox is selected."""
        now = time.monotonic()
        uids = [message.uid for message in messages if message.uid is not None]
        for command in (f"UID STORE {uid_set(uids)} +FLAGS.SILENT (\\Deleted)", f"UID EXPUNGE {uid_set(uids)}"):
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
        copied = sum(t.acked is not None for t in self.ledger.transfers)
        seen = sum(len(watch.seen_at) for watch in self.watches)
        return (
            f"{len(acked)} messages acknowledged ({again} offered again, {len(self.ledger.messages) - len(acked)} in "
            f"doubt), {changes} flag changes ({doubt} in doubt), {copied} copied or moved, {gone} removed, "
            f"{seen} arrivals watched"
        )


async def observe(endpoint: Endpoint, account: Account, mailbox: str = BOX) -> Observed:
    """A mailbox as a fresh session shows it, with every message's bytes."""
    client = await patiently(lambda: ImapClient.connect(endpoint, account.address, account.password))
    try:
        selected = await client.select(mailbox)
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


async def patiently(attempt: Callable[[], Awaitable[Got]], seconds: float = 30.0) -> Got:
    """Something of a pod that may be starting. Raises Closed when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await attempt()
        except Closed:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)  # between two tries at a foreign server


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Sender:
    """One sending MTA; `user`: a mail client that logs in."""

    def __init__(
        self, load: Load, rng: random.Random, endpoints: Sequence[Endpoint] = (), user: Account | None = None
    ) -> None:
        self._load = load
        self._rng = rng
        self._endpoints = endpoints or load.sites.smtp
        self._user = user
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

    async def send(self, local: Sequence[str], drop: bool = False, remote: Sequence[str] = ()) -> Message:
        """One message, offered until it is taken; `drop`: leave before the first answer."""
        token = self._load.new_token()
        sender = self._user.address if self._user else SENDER
        content = compose(token, self._rng, self._picture(), sender)
        message = self._load.ledger.offer(token, content, local, True, time.monotonic())
        message.sender, message.remote = sender, tuple(remote)
        recipients = [*local, *remote]
        while message.acked is None:
            try:
                client = self._client or await self._connect()
                message.offers += 1
                leave = drop and message.offers == 1
                code, text = await client.transaction(sender, recipients, content, leave=leave)
            except Closed as error:
                if isinstance(error, Stuck):
                    self._load.ledger.note(Kind.STUCK, recipients[0], f"SMTP, {token}: {error}")
                self.close()
                await asyncio.sleep(self._rng.uniform(0.01, 0.05))  # a peer's back-off
                continue
            if code == 250:
                message.acked = time.monotonic()
                message.traces |= set(re.findall(r"\b(?:id|of) (\S+)", text))
            elif code >= 500 and message.offers > 1 and any(name.startswith(GONE) for name in remote):
                message.refused = True  # its first offer was taken, and the address is known not to exist by now
                return message
            elif code >= 500:
                self._load.ledger.note(Kind.REFUSED, recipients[0], f"{token}: {code} {text}")
                return message
            else:
                await asyncio.sleep(self._rng.uniform(0.05, 0.2))  # a peer's back-off
        return message

    async def _connect(self) -> SmtpClient:
        self._client = client = await SmtpClient.connect(self._rng.choice(list(self._endpoints)))
        if self._user is not None:
            await client.login(self._user.address, self._user.password)
        return client

    def _picture(self) -> int | None:
        return self._rng.randint(1, 5) if self._rng.random() < self._load.mix.large else None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


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
                response = await client.response(None)
                if response.text.startswith(tag.encode()):
                    raise Closed(f"IDLE: {response.text!r}")
                self._hear(response)
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
