"""Dying at named points: whatever a process was in the middle of, nothing is lost, double, out of order or stuck.

Each test walks one process through some crash points under load: it is started armed, dies there, every mailbox must
take mail within 2 s, and after the last point the judge and `mailboatctl audit` must find nothing.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.harness import Platform, poll
from tests.faults.load import Load, Mix

pytestmark = pytest.mark.stack

API, INGRESS = "storage_api-1", "smtp_ingress-1"
WRITES = {
    "deliver": (
        Mix(recipients=0.6, append=1, store=1, expunge=0.5),
        {"deliver.before_commit": 30, "deliver.after_commit": 30, "deliver.after_filed": 30},
    ),
    "append, store and expunge": (
        Mix(append=6, store=5, expunge=5),
        {
            "append.prepared": 15,
            "append.before_commit": 15,
            "append.after_commit": 15,
            "store.before_commit": 15,
            "store.after_commit": 15,
            "expunge.before_commit": 6,
            "expunge.after_commit": 6,
        },
    ),
    "copy and move": (
        Mix(append=5, store=1, expunge=0.5, copy=3, move=3),
        {f"{what}.{when}_commit": 6 for what in ("copy", "move") for when in ("before", "after")},
    ),
    "group commit": (
        Mix(senders=5, pause=0.01),
        {
            "commit.before_first_write": 60,
            "commit.between_writes": 200,
            "commit.before_commit": 60,
            "commit.after_commit": 60,
        },
    ),
}
"""What the load does most, and where to die: point -> at which passage at the latest."""


@asynccontextmanager
async def running(load: Load) -> AsyncIterator[Load]:
    """The load, ended whatever happens."""
    try:
        await load.start()
        yield load
    finally:
        await load.close()


@pytest.mark.parametrize("kind", WRITES)
async def test_storage_api_dies_in(platform: Platform, seed: int, kind: str) -> None:
    rng = random.Random(seed)
    mix, points = WRITES[kind]
    accounts = await platform.accounts_of_pod(1, 4)
    async with running(platform.load(accounts, seed, mix)) as load:
        for point, latest in points.items():
            spec = f"{point}:{rng.randint(1, latest)}"
            died = await platform.death(await platform.start_armed(API, spec))
            platform.check_writable(spec, await load.deliver_to_all(load.sites.smtp, died))
        await platform.start(API)
        await platform.finish(load)


async def test_storage_api_freezes_between_two_writes(platform: Platform, seed: int) -> None:
    """A transaction that is left open holds its documents; the other pod ends it (store.md, rule 7).

    The frozen process then goes on, and the next one dies.
    """
    rng = random.Random(seed)
    accounts = await platform.accounts_of_pod(1, 4)
    other = {"MB_STORAGE_URL": f"http://127.0.0.1:{platform.stack.ports('storage_api-2')['internal']}"}
    ingress = "smtp_ingress-2"  # speaks to the other pod alone, as a client that doesn't wait for a frozen one would
    platform.stack.extra_env[ingress] = other
    await platform.kill(ingress)
    await platform.start(ingress)
    try:
        async with running(platform.load(accounts, seed, Mix(recipients=0.5))) as load:
            for number in (signal.SIGCONT, signal.SIGKILL):
                spec = f"commit.between_writes:{rng.randint(1, 100)}:stop"
                pid = await platform.start_armed(API, spec)
                frozen = await platform.stopped(pid)
                times = await load.deliver_to_all(platform.sites((2,)).smtp, frozen)
                os.kill(pid, number)
                platform.check_writable(f"{spec}, then {number.name}", times)
                if number == signal.SIGCONT:
                    sent = len(load.ledger.messages)
                    await load.until(lambda sent=sent: len(load.ledger.messages) > sent + 20)  # type: ignore[misc]
            await platform.death(pid)
            await platform.start(API)
            await platform.finish(load)
    finally:
        del platform.stack.extra_env[ingress]
        await platform.kill(ingress)
        await platform.start(ingress)


async def test_smtp_ingress_dies_before_its_250(platform: Platform, seed: int) -> None:
    rng = random.Random(seed)
    accounts = await platform.accounts(4)
    async with running(platform.load(accounts, seed, Mix(recipients=0.5))) as load:
        for _ in range(2):
            spec = f"smtp.before_250:{rng.randint(1, 20)}"
            died = await platform.death(await platform.start_armed(INGRESS, spec))
            platform.check_writable(spec, await load.deliver_to_all(load.sites.smtp, died))
        await platform.start(INGRESS)
        await platform.finish(load)


async def test_storage_api_dies_around_an_accepted_document(platform: Platform, seed: int) -> None:
    """Recipients that don't fit one transaction; a worker finishes what the dead process left."""
    accounts = await platform.accounts_of_pod(1, 2)
    crowd = await platform.accounts(64)
    mix = Mix(senders=3, crowd=0.4, append=1, store=1, expunge=0)
    points = ("deliver.before_accepted", "accept.before_commit", "accept.after_commit", "deliver.after_accepted")
    async with running(platform.load(accounts, seed, mix, crowd)) as load:
        for point in points:
            died = await platform.death(await platform.start_armed(API, point))
            platform.check_writable(point, await load.deliver_to_all(load.sites.smtp, died))
        await platform.start(API)
        await load.stop()
        await poll(lambda: not platform.database["accepted"].count_documents({}), 60)
        await platform.finish(load)
    assert platform.database["accepted_parts"].count_documents({}) == 0
