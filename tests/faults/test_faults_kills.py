"""Death at random: any process, at any moment, under load; then one of each service at once, and the database's."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from tests.faults.harness import WRITABLE_SECONDS, Platform
from tests.faults.load import Mix
from tests.faults.remote_servers import remote_servers
from tests.faults.test_faults_crash import running

pytestmark = pytest.mark.stack

SERVICES = ("storage_api", "storage_worker", "smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker")
WAIT_SECONDS = 60.0
WRITERS = ("storage_api", "storage_worker", "smtp_ingress")
USUALLY = 0.95
"""The share of deaths after which mail must be taken in time: in minutes a busy machine has moments of its own."""
VICTIMS = (*SERVICES, "storage_api")  # twice as often


async def test_kill_minus_nine_at_random(platform: Platform, seed: int, faults_seconds: float) -> None:
    """Some process dies every moment, while its sibling lives; it starts again at once. Mail comes in and goes out, is
    read and changed by IMAP and POP3 meanwhile."""
    rng = random.Random(seed)
    people, maildrops, senders = [await platform.accounts(count) for count in (4, 2, 2)]
    await platform.add("pop3_gateway")
    kills: Counter[str] = Counter()
    waits: list[float] = []  # how much longer than a moment before all mailboxes took to take mail
    load = platform.load(people, seed, Mix(pause=0.05), maildrops=maildrops)
    async with remote_servers(platform, load, senders) as remote, running(load):
        end = time.monotonic() + faults_seconds
        while time.monotonic() < end:
            service, number = rng.choice(VICTIMS), rng.randint(1, 2)
            sibling, victim = f"{service}-{3 - number}", f"{service}-{number}"
            await asyncio.to_thread(platform.stack.wait_ready, [sibling, victim])
            before = len(load.ledger.messages)
            extra = rng.randint(1, 15)
            await load.until(lambda before=before, extra=extra: len(load.ledger.messages) >= before + extra)  # type: ignore[misc]
            usual = await load.deliver_to_all(load.sites.smtp)
            died = await platform.kill(victim)
            kills[service] += 1
            times = await load.deliver_to_all(load.sites.smtp, died)
            if service in WRITERS:
                waits.append(max(times.values()) - max(usual.values()))
            await platform.start(victim, wait=False)
        await asyncio.to_thread(platform.stack.wait_ready, [f"{name}-{n}" for name in SERVICES for n in (1, 2)])
        await load.stop()
        await remote.settle()
        waits = sorted(waits) or [0.0]
        most = waits[int(len(waits) * USUALLY)]
        note = (
            f"{faults_seconds:.0f} s, killed {dict(kills)}; writable {most:.1f} s later than before in 95 of 100, "
            f"{waits[-1]:.1f} s at most; {remote.figures()}"
        )
        platform.notes.append(note)
        print(note)
        await platform.finish(load)
        assert most < WRITABLE_SECONDS, waits[-5:]


POINTS = {
    "imap_gateway-1": ("imap.before_answer", 15),
    "pop3_gateway-1": ("pop3.before_ok", 2),
    "smtp_ingress-1": ("smtp.before_250", 10),
    "storage_api-1": ("queue.claimed", 2),
    "storage_worker-1": ("notice.filed", 1),
    "delivery_worker-1": ("delivery.answered", 3),
}
"""Where a process of each service dies between what it has done and telling of it, and at which passage at the latest."""


async def test_each_service_dies_before_it_tells(platform: Platform, seed: int) -> None:
    """One of each dies while the other lives: what was done and not told of is done once."""
    rng = random.Random(seed)
    people, maildrops, senders = [await platform.accounts(count) for count in (3, 1, 2)]
    await platform.add("pop3_gateway")
    load = platform.load(people, seed, Mix(pause=0.05), maildrops=maildrops)
    async with remote_servers(platform, load, senders) as remote, running(load):
        await platform.kill("storage_worker-2")  # so that notices are the armed one's to send
        pids = {
            name: await platform.start_armed(name, f"{point}:{rng.randint(1, latest)}")
            for name, (point, latest) in POINTS.items()
        }
        platform.free_maildrops(maildrops)  # the gateway that was replaced may have held one
        died = await asyncio.gather(
            *(platform.death(pid, WAIT_SECONDS) for pid in pids.values()), return_exceptions=True
        )
        assert {name: at for name, at in zip(POINTS, died, strict=True) if isinstance(at, BaseException)} == {}
        platform.deaths += [(name, at) for name, at in zip(POINTS, died, strict=True) if isinstance(at, float)]
        for name in (*POINTS, "storage_worker-2"):
            await platform.start(name, wait=False)
        await asyncio.to_thread(platform.stack.wait_ready, [f"{name}-{n}" for name in SERVICES for n in (1, 2)])
        sent = len(load.ledger.messages)
        await load.until(lambda: len(load.ledger.messages) > sent + 20)
        await load.stop()
        await remote.settle()
        print(remote.figures())
        await platform.finish(load)


async def test_mongod_killed_and_restarted(platform: Platform, seed: int) -> None:
    accounts = await platform.accounts(4)
    async with running(platform.load(accounts, seed)) as load:
        for _ in range(2):
            sent = len(load.ledger.messages)
            await load.until(lambda sent=sent: len(load.ledger.messages) > sent + 40)  # type: ignore[misc]
            await platform.kill("mongod-1")
            await platform.start("mongod-1")
            platform.check_writable("mongod", await load.deliver_to_all(load.sites.smtp))
        await platform.finish(load)
