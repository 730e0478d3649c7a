"""Replicas replaced one by one under load: no client sees more than a goodbye between two commands."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from mailboat_local.layout import SERVICES
from mailboat_local.process import free_offset

from tests.faults.clients import Closed, Endpoint, ImapClient
from tests.faults.compose import BOX
from tests.faults.harness import Platform, poll
from tests.faults.load import Account
from tests.faults.previous_release import TwoReleases, installed, previous_revision
from tests.faults.rolling import Replaced, Rolling, rolled

pytestmark = pytest.mark.stack

UNEVEN = 3.0
"""No second of a drain has more goodbyes than so many times the even share."""
SESSIONS_PER_ACCOUNT = 20  # of the 30 that may be connected
BACK_SECONDS = 60.0
MEASURED_BACK_SECONDS = 30.0  # 5 s are promised of two cores that do nothing else


async def test_every_replica_is_replaced_under_load(platform: Platform, seed: int, faults_full: bool) -> None:
    """Full: one process at a time, with the services' own drain. Short: one replica of each service at a time."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    drain, idlers = (30.0, 200) if faults_full else (10.0, 12)
    turns = [[f"{service}-{n}"] for n in (1, 2) for service in SERVICES]
    if not faults_full:
        turns = [[f"{service}-{n}" for service in SERVICES] for n in (1, 2)]
    async with rolled(platform, rng, drain_seconds=drain, idlers=idlers) as rolling:
        for names in turns:
            await rolling.replace(names)
        tell(rolling)
        platform.notes.append(await rolling.judged())
        if faults_full:
            for replaced in rolling.replaced:
                check_spread(rolling, replaced)


def tell(rolling: Rolling) -> None:
    """How each replica left."""
    for replaced in rolling.replaced:
        note = f"{replaced.name}: gone {replaced.gone - replaced.told:.1f} s after SIGTERM"
        if replaced.name.startswith("imap"):
            note += f", goodbyes to idlers by second {rolling.histogram(replaced)}"
        print(note)


def check_spread(rolling: Rolling, replaced: Replaced) -> None:
    """Clients left all over the drain, once nothing more was accepted."""
    seconds = rolling.histogram(replaced)
    even = sum(seconds) / (rolling.drain_seconds - rolling.accepting())
    assert max(seconds) <= UNEVEN * max(even, 1.0), f"{replaced.name}: {seconds}"


@pytest.mark.full
async def test_the_release_before_beside_this_one(tmp_path: Path, seed: int) -> None:
    """Service by service to this release in any order, and back again, in any order: nothing fails.

    It needs the history, and installs the release before (minutes, 600 MB).
    """
    print(f"seed {seed}")
    rng = random.Random(seed)
    release = await asyncio.to_thread(installed, previous_revision())
    print(f"the release before: {release.revision}")
    stack = TwoReleases(tmp_path / "stack", port_offset=free_offset(replicas=2), replicas=2, release=release)
    stack.before |= {f"{service}-{n}" for service in SERVICES for n in (1, 2)}
    try:
        await asyncio.to_thread(stack.up)
        platform = Platform(stack)
        platform.setup()
        async with rolled(platform, rng, drain_seconds=20.0, idlers=40) as rolling:
            rolling.judge_logs = False  # the release before logs what it logs
            for back in (False, True):
                for service in rng.sample(SERVICES, len(SERVICES)):
                    for n in (1, 2):
                        (stack.before.add if back else stack.before.discard)(f"{service}-{n}")
                        await rolling.replace([f"{service}-{n}"])
                    print(f"{service} is the release {'before' if back else 'under test'}")
            tell(rolling)
            await rolling.judged()
    finally:
        await asyncio.to_thread(stack.down)


class Sessions:
    """Many clients of one gateway, each in INBOX, and back there as soon as it lets them."""

    def __init__(self, endpoint: Endpoint, accounts: list[Account], count: int, rng: random.Random) -> None:
        self.inside: set[int] = set()
        self.refused: list[str] = []
        self.count = count
        self._endpoint = endpoint
        self._accounts = accounts
        self._rng = rng

    async def run(self) -> None:
        """All of them, until cancelled."""
        await asyncio.gather(*(self._one(number) for number in range(self.count)))

    async def _one(self, number: int) -> None:
        account = self._accounts[number % len(self._accounts)]
        endpoint = replace(self._endpoint, source=str(IPv4Address("127.2.0.1") + number))  # each person's own
        await asyncio.sleep(self._rng.uniform(0.0, 1.0))  # they didn't all start in the same instant
        while True:
            try:
                client = await ImapClient.connect(endpoint, account.address, account.password)
                try:
                    await client.select(BOX)
                    self.inside.add(number)
                    await client.response(None)
                finally:
                    client.close()
            except Closed as error:
                if str(error).startswith(("login", "select", "* BYE")):
                    self.refused.append(str(error))
                self.inside.discard(number)
                await asyncio.sleep(self._rng.uniform(0.5, 1.5))  # a client's back-off

    async def all_in(self) -> float:
        """Waits until everybody is in INBOX; when that was. Raises TimeoutError."""
        await poll(lambda: len(self.inside) == self.count, BACK_SECONDS)
        return time.monotonic()


@asynccontextmanager
async def connected(platform: Platform, count: int, rng: random.Random) -> AsyncIterator[Sessions]:
    """So many sessions of the first gateway."""
    accounts = await platform.accounts(max(1, count // SESSIONS_PER_ACCOUNT))
    sessions = Sessions(platform.sites().imap[0], accounts, count, rng)
    running = asyncio.create_task(sessions.run())
    try:
        await sessions.all_in()
        yield sessions
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def cpu_seconds(platform: Platform, name: str) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{platform.stack.pid(name)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_killed_gateway_has_its_sessions_back(platform: Platform, seed: int, faults_full: bool) -> None:
    """No other replica takes them: all log in and select again once its successor is there."""
    count, victim, storages = (1000 if faults_full else 60), "imap_gateway-1", ("storage_api-1", "storage_api-2")
    async with connected(platform, count, random.Random(seed)) as sessions:
        died = await platform.kill(victim)
        await poll(lambda: not sessions.inside, BACK_SECONDS)
        before = sum(cpu_seconds(platform, name) for name in storages)
        await platform.start(victim)
        ready = time.monotonic()
        back = await sessions.all_in()
        spent = cpu_seconds(platform, victim), sum(cpu_seconds(platform, name) for name in storages) - before
        assert sessions.refused == []
    note = (
        f"{count} sessions of a killed gateway: its successor ready after {ready - died:.1f} s, all in INBOX "
        f"{back - ready:.1f} s later; CPU {spent[0]:.1f} s there, {spent[1]:.1f} s in storage_api"
    )
    platform.notes.append(note)
    print(note)
    assert not faults_full or back - ready < MEASURED_BACK_SECONDS
