"""A platform of two replicas of everything whose replicas are replaced one by one, with patrons, idlers and the outside.

async with rolled(platform, drain_seconds=30, idlers=200, rng=rng) as rolling:
    await rolling.replace(["imap_gateway-1"])
    await rolling.judged()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailboat_local.layout import SERVICES

from tests.faults.balancer import FRONTS, Balancer
from tests.faults.clients import ImapClient, fetch_of
from tests.faults.compose import BOX
from tests.faults.harness import Platform, poll
from tests.faults.load import Account
from tests.faults.patrons import REMOTE, REMOTES, Author, Caller, Judge, Mta, Patron, Popper, Reader, Waiter, World
from tests.support.dns_server import dns_server
from tests.support.smtp_sink import Sink, smtp_sink

KEEP_ACCEPTING = 3.0, 0.25
"""A process told to end accepts for the smaller of these seconds and this share of its drain (docs/operations.md)."""
EXIT_SECONDS = 5.0  # past the drain
IDLERS_PER_ACCOUNT = 20  # of the 30 that may be connected
SETTLE_SECONDS = 60.0
ACTIVE = ("smtp", "submission", "imap", "pop3", "rest")
ZONE = "\n".join(f"{REMOTE.format(n)}. 60 A 127.0.0.1" for n in range(REMOTES))


@dataclass(frozen=True, slots=True)
class Replaced:
    """One replica's end: when it was told, was gone, and its successor was ready (seconds of time.monotonic)."""

    name: str
    told: float
    gone: float
    ready: float


@dataclass(slots=True)
class Rolling:
    """The running platform under its load."""

    world: World
    sink: Sink
    rng: random.Random
    drain_seconds: float
    judge_logs: bool = True
    patrons: list[Patron[Any]] = field(default_factory=list)
    replaced: list[Replaced] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _log_ends: dict[str, int] = field(default_factory=dict)

    @property
    def platform(self) -> Platform:
        """Whose processes they are."""
        return self.world.platform

    @property
    def judge(self) -> Judge:
        """What the patrons met."""
        return self.world.judge

    async def start(self, idlers: int) -> None:
        """Everybody connects; returns when every idler waits and every kind of patron has been served."""
        for n in range(idlers):
            account = self.world.people[n % len(self.world.people)]
            self.patrons.append(Waiter(self.world, self._rng(f"idle {n}"), account))
        active: list[Patron[Any]] = [Mta(self.world, self._rng(f"mta {n}")) for n in range(2)]
        active += [Author(self.world, self._rng(f"author {n}")) for n in range(2)]
        active += [Reader(self.world, self._rng(f"reader {n}"), self.world.people[n]) for n in range(2)]
        active += [Popper(self.world, self._rng(f"popper {n}"), a) for n, a in enumerate(self.world.poppers)]
        active += [Caller(self.world, self._rng(f"caller {n}")) for n in range(2)]
        waiters = [patron for patron in self.patrons if isinstance(patron, Waiter)]
        self._go(self.patrons)
        await self._until(lambda: all(waiter.waiting.is_set() for waiter in waiters), "not every idler waits")
        self.patrons += active
        self._go(active)
        await self.judge.more(2, ACTIVE)

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        try:
            await poll(condition, SETTLE_SECONDS)
        except TimeoutError:
            met = (
                f"done {dict(self.judge.done)}, connected {dict(self.judge.connected)}, broken {self.judge.broken[:20]}"
            )
            raise AssertionError(f"{otherwise}: {met}") from None

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.rng.random()} {name}")

    def _go(self, patrons: Sequence[Patron[Any]]) -> None:
        self._tasks += [asyncio.create_task(patron.run()) for patron in patrons]

    async def replace(self, names: Sequence[str]) -> None:
        """SIGTERM, wait, a new process: for some replicas at the same time, under load before, meanwhile and after."""
        stack = self.platform.stack
        pids = {name: stack.pid(name) for name in names}
        told = time.monotonic()
        for name, pid in pids.items():
            assert pid is not None, f"{name} doesn't run"
            self.world.balancer.leaves(name, self.rng.uniform(0.35, 0.9) * self.accepting())
            stack.processes.signal(name, signal.SIGTERM)
        ends = await asyncio.gather(*(self._end(pid) for pid in pids.values() if pid is not None))
        for name in names:
            await self.platform.start(name, wait=False)
        await asyncio.to_thread(stack.wait_ready, names, 60.0)
        ready = time.monotonic()
        for name, gone in zip(names, ends, strict=True):
            self.world.balancer.joins(name)
            self.replaced.append(Replaced(name, told, gone, ready))
        await self.judge.more(1, ACTIVE)

    async def _end(self, pid: int) -> float:
        return await self.platform.death(pid, self.drain_seconds + EXIT_SECONDS)

    def accepting(self) -> float:
        """For how long a process that is told to end still takes connections, seconds."""
        most, share = KEEP_ACCEPTING
        return min(most, share * self.drain_seconds)

    def histogram(self, replaced: Replaced, kind: str = "idle") -> list[int]:
        """Goodbyes in each second of a replica's drain, from SIGTERM on."""
        counts = [0] * (int(self.drain_seconds) + 2)
        for what, when in self.judge.goodbyes:
            second = int(when - replaced.told)
            if what == kind and 0 <= second < len(counts):
                counts[second] += 1
        return counts

    async def judged(self) -> str:
        """End the load and judge it. Raises AssertionError with everything that is wrong."""
        self.judge.stopping.set()
        active = [
            task for task, patron in zip(self._tasks, self.patrons, strict=True) if not isinstance(patron, Waiter)
        ]
        async with asyncio.timeout(SETTLE_SECONDS):
            await asyncio.gather(*active)
        figures = f"done {dict(self.judge.done)}; goodbyes {dict(Counter(kind for kind, _ in self.judge.goodbyes))}"
        print(figures)
        assert self.judge.broken == [], f"{len(self.judge.broken)} broken: " + "\n  ".join(self.judge.broken[:30])
        assert self.world.balancer.refused == []
        self._check_exits()
        for account in (*self.world.people, *self.world.poppers):
            await self._check_mailbox(account)
        await self._check_outside()
        status, found, _ = await self.platform.audit()
        assert (status, found) == (0, [])
        return figures

    def _check_exits(self) -> None:
        for replaced in self.replaced:
            log = self.platform.stack.layout.log_file(replaced.name).read_bytes()[self._log_ends[replaced.name] :]
            lines = [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]
            assert {line["status"] for line in lines if line["event"] == "ended"} == {0}, replaced.name
            errors = [line for line in lines if line["level"] in ("error", "critical") and self.judge_logs]
            assert errors == [], f"{replaced.name}: {errors[:5]}"

    async def _check_mailbox(self, account: Account) -> None:
        """Everything acknowledged and not taken away is there, once, and nothing else."""
        client = await ImapClient.connect(self.world.endpoint("imaps"), account.address, account.password)
        try:
            await client.select(BOX)
            done = await client.command("UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
            found: Counter[str] = Counter()
            for response in done.untagged:
                fetched = fetch_of(response)
                if fetched is not None and fetched.literal is not None:
                    subject = re.search(rb"Subject: (\S+)\r", fetched.literal)
                    assert subject is not None, fetched.literal
                    found[subject[1].decode()] += 1
            wanted = +self.judge.kept[account.address]
            assert found == wanted, f"{account.address}: missing {wanted - found}, too much {found - wanted}"
        finally:
            client.close()

    async def _check_outside(self) -> None:
        """Every copy for another server is there, once."""

        def copies() -> Counter[str]:
            found = (re.search(rb"^Subject: (\S+)\r$", m.content, re.MULTILINE) for m in self.sink.messages)
            return Counter(subject[1].decode() for subject in found if subject is not None)

        with contextlib.suppress(TimeoutError):
            await poll(lambda: not self.judge.sent - copies(), SETTLE_SECONDS)
        found = copies()
        assert found == self.judge.sent, f"missing {self.judge.sent - found}, too much {found - self.judge.sent}"

    async def close(self) -> None:
        """Everybody leaves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.world.balancer.close()

    def note_logs(self) -> None:
        """What is logged from now on is judged."""
        for name in (f"{service}-{n}" for service in SERVICES for n in (1, 2)):
            log = self.platform.stack.layout.log_file(name)
            self._log_ends[name] = log.stat().st_size if log.exists() else 0


@contextlib.asynccontextmanager
async def rolled(
    platform: Platform,
    rng: random.Random,
    *,
    drain_seconds: float,
    idlers: int,
    settings: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[Rolling]:
    """All six services, two of each, behind a balancer, with `idlers` connections in IDLE and a mixed load."""
    stack = platform.stack
    accounts = await platform.accounts(max(2, -(-idlers // IDLERS_PER_ACCOUNT)) + 2)
    async with dns_server(ZONE) as dns, smtp_sink() as sink:
        outside = {
            "MB_DNS_SERVERS": dns.address,
            "MB_MX_PORT": str(sink.port),
            "MB_MX_NETWORKS": "127.0.0.0/8",
        }
        for service in SERVICES:
            own = {"MB_DRAIN_SECONDS": f"{drain_seconds:g}"} | (outside if service == "delivery_worker" else {})
            stack.extra_env[service] = own | dict((settings or {}).get(service, {}))
        await asyncio.to_thread(stack.up)
        names = [f"{service}-{n}" for service in SERVICES for n in (1, 2)]
        for name in names:
            await platform.start(name, wait=False)
        await asyncio.to_thread(stack.wait_ready, names)
        balancer = Balancer(stack, FRONTS)
        await balancer.start()
        world = World(platform, balancer, Judge(), accounts[:-2], accounts[-2:])
        rolling = Rolling(world, sink, rng, drain_seconds)
        rolling.note_logs()
        try:
            await rolling.start(idlers)
            yield rolling
        finally:
            await rolling.close()
            for service in ("pop3_gateway", "delivery_worker"):
                for n in (1, 2):
                    if stack.pid(f"{service}-{n}") is not None:
                        await platform.kill(f"{service}-{n}")
