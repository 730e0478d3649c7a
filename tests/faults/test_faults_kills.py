"""Death at random: any process, at any moment, under load; then the database's and the broker's."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from tests.faults.harness import Platform, poll
from tests.faults.load import Mix
from tests.faults.test_faults_crash import running

pytestmark = pytest.mark.stack

VICTIMS = ("storage_api", "storage_api", "storage_worker", "smtp_ingress", "imap_gateway")


async def test_kill_minus_nine_at_random(platform: Platform, seed: int, faults_seconds: float) -> None:
    """Some process dies every moment, while its sibling lives; it starts again at once."""
    rng = random.Random(seed)
    accounts = await platform.accounts(4)
    kills: dict[str, int] = {}
    async with running(platform.load(accounts, seed, Mix(crowd=0.02))) as load:
        end = time.monotonic() + faults_seconds
        while time.monotonic() < end:
            service, number = rng.choice(VICTIMS), rng.randint(1, 2)
            sibling, victim = f"{service}-{3 - number}", f"{service}-{number}"
            await asyncio.to_thread(platform.stack.wait_ready, [sibling])
            before = len(load.ledger.messages)
            extra = rng.randint(1, 15)
            await load.until(lambda before=before, extra=extra: len(load.ledger.messages) >= before + extra)  # type: ignore[misc]
            died = await platform.kill(victim)
            kills[service] = kills.get(service, 0) + 1
            platform.check_writable(f"kill -9 {victim}", await load.deliver_to_all(load.sites.smtp, died))
            await platform.start(victim, wait=False)
        names = [name for name in platform.stack.names if name.rpartition("-")[0] in VICTIMS]
        await asyncio.to_thread(platform.stack.wait_ready, names)
        print(f"killed {kills}")
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


async def test_rabbitmq_wiped_under_load(platform: Platform, seed: int) -> None:
    """Its data gone: mail and flags go on at once, and news flow again within a minute of its return."""
    accounts = await platform.accounts(4)
    async with running(platform.load(accounts, seed)) as load:
        sent = len(load.ledger.messages)
        await load.until(lambda: len(load.ledger.messages) > sent + 40)
        wiping = asyncio.create_task(asyncio.to_thread(platform.stack.wipe_rabbitmq))
        try:
            await poll(lambda: platform.stack.pid("rabbitmq-1") is None, 30)
            platform.check_writable("no RabbitMQ", await load.deliver_to_all(load.sites.smtp))
        finally:
            await wiping
        back = time.monotonic()
        names = [name for name in platform.stack.names if "_" in name]
        await asyncio.to_thread(platform.stack.wait_ready, names, 60.0)
        note = f"RabbitMQ wiped: everything is ready again {time.monotonic() - back:.1f} s after its return"
        platform.notes.append(note)
        print(note)
        await platform.finish(load)
