"""A database that fails in its own ways, each with a stack of its own: the primary of three dies, the disk is full.

Only in the full form (`make test-faults`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mailboat_local.layout import StackSettings
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack

from tests.faults.clients import SmtpClient
from tests.faults.harness import Platform
from tests.faults.load import Load, Mix, observe
from tests.faults.test_faults_backing import passes
from tests.faults.test_faults_crash import running
from tests.support.mongod import Mongod, ReplicaSet, SmallDisk

pytestmark = [pytest.mark.stack, pytest.mark.full]

SERVICES = ("storage_api", "storage_worker", "smtp_ingress", "imap_gateway")
DISK_MB, LEAST_PERCENT = 1500, 30
"""MongoDB preallocates journal files of 100 MB: on so small a disk 5 % would be less than one of them."""
WATCH_SECONDS = 15.0
"""storage_api looks at the disk every ten."""


@contextmanager
def stack_on(directory: Path, uri: str, **settings: str) -> Iterator[Platform]:
    """A stack of two replicas on a database that is there."""
    chosen = StackSettings(port_offset=free_offset(replicas=2), replicas=2, mongodb_uri=uri, passed_on=settings)
    stack = Stack(directory / "stack", settings=chosen, only=SERVICES)
    try:
        stack.up()
        platform = Platform(stack)
        platform.setup()
        yield platform
    finally:
        stack.down()


async def test_the_primary_of_three_dies(tmp_path: Path, seed: int) -> None:
    """Killed three times under load, and back as a secondary: what was acknowledged is there, calls wait for the next."""
    members = ReplicaSet(tmp_path)
    try:
        members.start().primary()
        with stack_on(tmp_path, members.uri) as platform:
            load = platform.load(await platform.accounts(4), seed, Mix(pause=0.05))
            async with running(load):
                for _ in range(3):
                    await passes(load, 3)
                    primary = await asyncio.to_thread(members.primary)
                    await asyncio.to_thread(primary.kill)
                    killed = time.monotonic()
                    times = await load.deliver_to_all(load.sites.smtp, killed)
                    print(f"primary killed: every mailbox writable after {max(times.values()):.1f} s")
                    assert await asyncio.to_thread(members.primary) is not primary
                    await asyncio.to_thread(primary.start)
                await platform.finish(load)
    finally:
        members.stop()


async def test_the_disk_is_full(tmp_path: Path, seed: int) -> None:
    """Nearly: mail is refused for now, reading and flags go on. Then wholly, by which mongod may die. Then there is room."""
    disk = SmallDisk(tmp_path / "disk" / "data", DISK_MB)
    mongod = Mongod(tmp_path / "disk", oplog_mb=100, cache_gb=0.25, within=disk.within)
    try:
        await asyncio.to_thread(mongod.start)
        uri = mongod.uri.replace("/?", "/mailboat?")
        with stack_on(tmp_path, uri, MB_MIN_FREE_PERCENT=str(LEAST_PERCENT)) as platform:
            *accounts, probed = await platform.accounts(4)
            load = platform.load(accounts, seed, Mix(pause=0.05))
            async with running(load):
                await passes(load, 3)
                disk.fill(DISK_MB * (LEAST_PERCENT - 5) // 100)
                await until_refused(platform, probed.address)
                stored = changes_of(load)
                await load.until(lambda: changes_of(load) > stored + 20, 60)
                assert (await observe(load.sites.imap[0], accounts[0])).rows
                disk.free()
                await passes(load, WATCH_SECONDS)
                assert max((await load.deliver_to_all(load.sites.smtp)).values()) < WATCH_SECONDS

                disk.fill(0)
                end = time.monotonic() + WATCH_SECONDS
                await load.until(lambda: time.monotonic() > end)
                died = mongod.ended
                print(f"no octet left for {WATCH_SECONDS:.0f} s: mongod {'died' if died else 'lived'}")
                disk.free()
                if died:
                    mongod.kill()
                    await asyncio.to_thread(mongod.start)
                await passes(load, WATCH_SECONDS)
                await platform.finish(load)
    finally:
        mongod.kill()
        disk.close()


def changes_of(load: Load) -> int:
    """How many flag changes were acknowledged."""
    return sum(change.acked is not None for change in load.ledger.changes)


async def until_refused(platform: Platform, address: str) -> None:
    """Waits until each ingress answers a message with 452 4.3.1 (RFC 5321 4.2.3)."""
    for endpoint in platform.sites().smtp:
        async with asyncio.timeout(WATCH_SECONDS * 2):
            while True:
                client = await SmtpClient.connect(endpoint)
                code, text = await client.transaction("probe@faults.example", [address], b"Subject: probe\r\n\r\n")
                client.close()
                if code == 452:
                    assert text.startswith("4.3.1"), text
                    break
                await asyncio.sleep(0.5)  # between two tries at a foreign server
