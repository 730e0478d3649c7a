"""What stands behind the services goes away or stands still, under load: RabbitMQ, mongod, storage_api, DNS, remote servers.

In the full form (`make test-faults`) for as long as it says, else just long enough that something must wait.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from mailboat_local import rabbit

from tests.faults.harness import WRITABLE_SECONDS, Platform, poll
from tests.faults.load import Load, Mix
from tests.faults.remote_servers import DELIVERERS, DOMAINS, remote_servers
from tests.faults.test_faults_crash import running
from tests.support.dns_server import Fault
from tests.support.smtp_sink import Behaviour, Drips, Drops, Floods, Says, Stalls

pytestmark = pytest.mark.stack

FLOWS_SECONDS = 60.0
"""Mail goes out again so long after RabbitMQ's return."""
LEAST_A_SECOND = 4
"""How many recipients of what was queued meanwhile are served a second then, on a machine that does much else."""


async def passes(load: Load, seconds: float) -> None:
    """The load goes on for so long, and does something."""
    sent, end = len(load.ledger.messages), time.monotonic() + seconds
    await load.until(lambda: time.monotonic() > end and len(load.ledger.messages) > sent, seconds + 60)


@pytest.mark.parametrize("what", [pytest.param("down", marks=pytest.mark.full), "wiped"])
async def test_rabbitmq(platform: Platform, seed: int, faults_full: bool, what: str) -> None:
    """Down for five minutes, or its data gone: mail is taken at once meanwhile, and everything flows again in a minute."""
    people, senders = [await platform.accounts(count) for count in (3, 2)]
    load = platform.load(people, seed, Mix(senders=2, pause=0.1))
    seconds = 10.0 if not faults_full else 300.0 if what == "down" else 30.0
    async with remote_servers(platform, load, senders) as remote, running(load):
        await passes(load, 2)
        usual = max((await load.deliver_to_all(load.sites.smtp)).values())
        await platform.kill("rabbitmq-1")
        platform.check_writable("no RabbitMQ", await load.deliver_to_all(load.sites.smtp), usual)
        await passes(load, seconds)
        waiting = remote.open()
        if what == "wiped":
            rabbit.wipe(platform.stack.layout)
        await platform.start("rabbitmq-1")
        back = time.monotonic()
        await poll(lambda: bool(waiting - remote.open()), FLOWS_SECONDS, 0.5)
        first = time.monotonic() - back
        await poll(lambda: not waiting & remote.open(), FLOWS_SECONDS + len(waiting) / LEAST_A_SECOND, 0.5)
        note = (
            f"RabbitMQ {what} for {seconds:.0f} s: {len(waiting)} recipients waited, the first was served {first:.1f} s "
            f"after its return, the last {time.monotonic() - back:.1f} s"
        )
        platform.notes.append(note)
        print(note)
        names = [name for name in (*platform.stack.names, *DELIVERERS) if "_" in name]
        await asyncio.to_thread(platform.stack.wait_ready, names, FLOWS_SECONDS)
        await load.stop()
        await remote.settle()
        await platform.finish(load)


async def test_mongod_freezes(platform: Platform, seed: int, faults_full: bool) -> None:
    """Stopped in the middle of everything; what waits meanwhile is done afterwards, or refused for now."""
    accounts = await platform.accounts(3)
    pid = platform.stack.pid("mongod-1")
    assert pid is not None
    async with running(platform.load(accounts, seed, Mix(pause=0.05))) as load:
        await passes(load, 2)
        os.kill(pid, signal.SIGSTOP)
        try:
            sent, end = time.monotonic(), time.monotonic() + (30.0 if faults_full else 5.0)
            await load.until(lambda: time.monotonic() > end, 60)
            assert not [
                m for m in load.ledger.messages.values() if m.acked is not None and m.acked > sent + WRITABLE_SECONDS
            ]
        finally:
            os.kill(pid, signal.SIGCONT)
        times = await load.deliver_to_all(load.sites.smtp)
        print(f"mongod goes on: writable after {max(times.values()):.3f} s")
        await passes(load, 2)
        await platform.finish(load)


async def test_storage_api_away(platform: Platform, seed: int, faults_full: bool) -> None:
    """Both replicas gone: gateways hold what they are asked, or refuse it for now; nobody is told a lie."""
    people, maildrops = [await platform.accounts(count) for count in (3, 1)]
    await platform.add("pop3_gateway")
    load = platform.load(people, seed, Mix(pause=0.05), maildrops=maildrops)
    async with running(load):
        await passes(load, 2)
        for name in ("storage_api-1", "storage_api-2"):
            await platform.kill(name)
        gone, end = time.monotonic(), time.monotonic() + (45.0 if faults_full else 4.0)
        await load.until(lambda: time.monotonic() > end, 90)
        assert not [
            m for m in load.ledger.messages.values() if m.acked is not None and m.acked > gone + WRITABLE_SECONDS
        ]
        for name in ("storage_api-1", "storage_api-2"):
            await platform.start(name, wait=False)
        await load.deliver_to_all(load.sites.smtp)
        await passes(load, 2)
        await platform.finish(load)


STALLING = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "QUIT")
"""Phases before the message is complete. After its end a stall leaves open whether it was taken, and it may come twice:
services/delivery_worker/tests/test_worker_smtp.py::test_an_unknown_fate_is_deferred_and_not_sent_elsewhere."""


async def test_remote_servers_that_stall_and_dns_that_lies(platform: Platform, seed: int, faults_full: bool) -> None:
    """Each phase hangs, drips, floods, breaks off or answers nonsense once; DNS is silent, fails or answers something else.

    Afterwards everything arrives once: nothing is given up for it, and other mail isn't held up for ever.
    """
    people, senders = [await platform.accounts(count) for count in (1, 2)]
    load = platform.load(people, seed, Mix(senders=1, pause=0.1))
    times = 5 if faults_full else 1
    async with remote_servers(platform, load, senders, {"MB_TIMEOUTS_FACTOR": "0.005"}) as remote:
        for phase in STALLING:
            wrong: list[Behaviour] = [
                Stalls(),
                Drops(),
                Says("421 4.3.2 Not now"),
                Drips(),
                Drops("250-half"),
                Floods(),
                Says("hello"),
            ]
            remote.sink.on[phase] = wrong * times
        faults = (Fault.SILENT, Fault.SERVFAIL, Fault.WRONG_ID, Fault.GARBAGE, Fault.REFUSED)
        remote.dns.faults.update({f"{domain}.": fault for domain, fault in zip(DOMAINS, faults, strict=False)})
        async with running(load):
            await load.until(lambda: len(load.ledger.messages) > 40 * times, 300)
            await load.stop()
            remote.dns.faults.clear()
            for phase in STALLING:
                remote.sink.on.pop(phase, None)
            await remote.settle()
            print(remote.figures())
            await platform.finish(load)
