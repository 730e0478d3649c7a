"""A client that comes and goes misses nothing: after each return its copy is what the server has (RFC 7162).

Others change its mailbox while it is away, while it comes back and while it is there, through another pod, with some of
their news lost; the mailbox may be deleted and made anew, and removals may be forgotten behind the vanished floor.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imap_gateway.capabilities import advertised
from imap_gateway.commands import load

from tests.convergence.device import Device, truth
from tests.convergence.pods import Pods, two_pods
from tests.support.imap import ALICE, Client
from tests.support.stack import Live

assert load, "imported so that every command is registered"

BOX = "box"
MODES = ["condstore", *(["qresync"] if b"QRESYNC" in advertised() else [])]
FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "work", "home")
ACTIONS = ("flag", "flag", "flag", "append", "append", "expunge", "move away", "replace", "copy here")


class Others:
    """Whoever else uses the mailbox: one session without a copy, by UID alone."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client, self._rng = client, rng
        self._made = 0

    async def begin(self) -> None:
        """A mailbox with a few messages, and one to move them to."""
        await self._client.ok("CREATE elsewhere")
        await self.make()

    async def make(self) -> None:
        """The mailbox, filled and selected."""
        await self._client.ok(f"CREATE {BOX}")
        for _ in range(self._rng.randint(0, 6)):
            await self._append()
        await self._client.ok(f"SELECT {BOX}")

    async def make_anew(self) -> None:
        """Another mailbox of the same name."""
        await self._client.ok("UNSELECT")
        await self._client.ok(f"DELETE {BOX}")
        await self.make()

    async def act(self, count: int) -> None:
        """Some changes."""
        for _ in range(count):
            await self._act(self._rng.choice(ACTIONS))

    async def _act(self, action: str) -> None:
        uids = await self._uids()
        if action == "append" or not uids:
            await self._append()
            return
        some = ",".join(map(str, sorted(self._rng.sample(uids, self._rng.randint(1, min(3, len(uids)))))))
        flags = " ".join(self._rng.sample(FLAGS, 2))
        match action:
            case "flag":
                await self._client.ok(f"UID STORE {some} {self._rng.choice(('+', '-', ''))}FLAGS.SILENT ({flags})")
            case "expunge":
                await self._client.ok(f"UID STORE {some} +FLAGS.SILENT (\\Deleted)")
                await self._client.ok(f"UID EXPUNGE {some}")
            case "move away":
                await self._client.ok(f"UID MOVE {some} elsewhere")
            case "copy here":
                await self._client.ok(f"UID COPY {some} {BOX}")
            case "replace":
                await self._client.ok(f"UID REPLACE {uids[-1]} {BOX} ({flags}) {{14+}}\r\nSubject: n\r\n\r\n")

    async def _uids(self) -> list[int]:
        await self._client.ok("NOOP")
        (line,) = [each for each in await self._client.ok("UID SEARCH ALL") if each.startswith(b"* SEARCH")]
        return [int(each) for each in line.split()[2:]]

    async def _append(self) -> None:
        self._made += 1
        reply = await self._client.append(BOX, b"Subject: m%d\r\n\r\n" % self._made, self._rng.choice(FLAGS))
        assert b" OK" in reply, reply


class Traveller:
    """The client that comes and goes."""

    def __init__(self, mode: str, rng: random.Random) -> None:
        self._mode, self._rng = mode, rng
        self._device: Device | None = None

    async def arrive(self, client: Client) -> Device:
        """A new connection takes the copy over and brings it up to date."""
        before = self._device
        device = self._device = Device(client, qresync=self._mode == "qresync")
        if device.qresync:
            await device.ok("ENABLE QRESYNC")
        if before is None:
            await device.open(BOX)
            return device
        device.uid_validity, device.modseq, device.flags = before.uid_validity, before.modseq, before.flags
        await device.resync(BOX, self._known(before))
        return device

    def _known(self, before: Device) -> str:
        """QRESYNC's optional parameters: what it knew, and at which numbers."""
        uids, numbers = before.known, len(before.uids)
        choice = self._rng.randint(0, 2)
        if not uids or choice == 0:
            return ""
        known = f" 1:{uids[-1]}"
        return known if choice == 1 or 0 in before.uids else f"{known} (1,{numbers} {uids[0]},{uids[-1]})"


async def journeys(
    connect: Callable[[int], Awaitable[Client]], rng: random.Random, mode: str, rounds: int, pods: Pods | None = None
) -> None:
    """Rounds of leaving and coming back; after each the copy is the truth. With `pods` removals may be forgotten."""
    others = Others(await connect(0), rng)
    await others.begin()
    judge, traveller = await connect(0), Traveller(mode, rng)
    for _ in range(rounds):
        client = await connect(rng.randint(0, 1))
        changes = rng.choice((0, 0, 3))
        busy = asyncio.ensure_future(others.act(changes))  # while it comes back
        device = await traveller.arrive(client)
        await busy
        await device.look()
        await compare(device, judge)
        for _ in range(rng.randint(0, 2)):  # while it is there
            changes, command = rng.randint(1, 3), rng.choice(("NOOP", "UID SEARCH ALL", "CHECK"))
            await asyncio.gather(others.act(changes), device.ok(command))
            if rng.random() < 0.5:
                await device.look()
        if device.modseq == device.highest or rng.random() < 0.5:
            await device.look()
        await client.close()
        if rng.random() < 0.15:
            await others.make_anew()
        changes = rng.randint(0, 5)
        await others.act(changes)  # while it is away
        if pods is not None and rng.random() < 0.3:
            await forget_removals(pods)
            changes = rng.randint(0, 2)
            await others.act(changes)


async def compare(device: Device, judge: Client) -> None:
    """The copy holds the same UIDs with the same flags as the server."""
    rows = {uid: flags for uid, (_, flags) in (await truth(judge, BOX)).items()}
    await judge.ok("UNSELECT")
    assert device.copy() == rows
    assert device.flags == rows


async def forget_removals(pods: Pods) -> None:
    """The vanished floor rises to now."""
    (resolution,) = await pods.store.directory.resolve([ALICE])
    assert resolution.account_id is not None
    head = await pods.store.read.head(resolution.account_id, BOX)
    pods.store.prune_vanished(resolution.account_id, head.mailbox_id)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False), st.integers(0, 1 << 32))
def test_it_misses_nothing(mode: str, rng: random.Random, seed: int) -> None:
    async def run() -> None:
        async with two_pods(seed, loses=0.3) as pods:
            await journeys(pods.client, rng, mode, 4, pods)

    asyncio.run(run())


@pytest.mark.stack
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("mode", MODES)
async def test_it_misses_nothing_on_the_whole_platform(live: Live, mode: str, seed: int) -> None:
    account = live.account()
    await journeys(lambda pod: live.imap(1 + pod, account), random.Random(seed), mode, 4)
