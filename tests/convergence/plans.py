"""What several clients do at once to two mailboxes: drawn at random, then done, and written down as it was answered."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.convergence.device import Device, truth
from tests.convergence.linear import Command, State, explains, state_of
from tests.support.imap import Client

BOXES = ("one", "two")
KINDS = ("add", "add", "remove", "set", "delete", "expunge", "uid expunge", "move", "copy", "append", "replace", "look")
FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "work", "home")
MESSAGES = 3
_APPENDUID = re.compile(rb"APPENDUID \d+ (\d+)\]")
_COPYUID = re.compile(rb"COPYUID \d+ (\d+) (\d+)\]")


@dataclass(frozen=True, slots=True)
class Step:
    """One command to come: `pick` chooses among the messages the client will know then."""

    kind: str
    pick: int
    target: str
    flags: frozenset[str]
    by_number: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One client: its pod, its mailbox, what it does, and whether it waits in IDLE afterwards."""

    pod: int
    box: str
    steps: tuple[Step, ...]
    idles: bool


def draw(rng: random.Random, clients: int, steps: int) -> list[Plan]:
    """Plans for some clients, at least two of them on different pods."""
    return [
        Plan(number, rng.choice(BOXES), tuple(_step(rng) for _ in range(rng.randint(1, steps))), rng.random() < 0.5)
        for number in range(clients)
    ]


def _step(rng: random.Random) -> Step:
    flags = frozenset(rng.sample(FLAGS, rng.randint(1, 2)))
    return Step(rng.choice(KINDS), rng.randint(0, 7), rng.choice(BOXES), flags, rng.random() < 0.5)


@dataclass
class Actor:
    """A device that carries a plan out."""

    number: int
    plan: Plan
    device: Device
    clock: Callable[[], int]
    history: list[Command] = field(default_factory=list)

    async def run(self) -> None:
        """All steps."""
        for at, step in enumerate(self.plan.steps):
            await self._do(step, f"c{self.number}.{at}")

    async def _do(self, step: Step, subject: str) -> None:
        device, known = self.device, self.device.known
        if step.kind == "look":
            await device.look()
            return
        uid = known[step.pick % len(known)] if known and step.kind not in ("append", "expunge") else None
        if uid is None and step.kind not in ("append", "expunge"):
            return
        which = f"UID {{}} {uid}" if not step.by_number or uid is None else f"{{}} {device.uids.index(uid) + 1}"
        flags, content = " ".join(sorted(step.flags)), f"Subject: {subject}\r\n\r\n{subject}\r\n".encode()
        sent = self.clock()

        def note(kind: str, *, answer: bytes | None = None, flags: frozenset[str] = step.flags, to: str = "") -> None:
            given = None if answer is None else int(answer)
            self.history.append(
                Command(self.number, kind, self.plan.box, uid, to, flags, subject, given, sent, self.clock())
            )

        match step.kind:
            case "add" | "remove" | "set":
                sign = {"add": "+", "remove": "-", "set": ""}[step.kind]
                await device.ok(f"{which.format('STORE')} {sign}FLAGS ({flags})")
                note(step.kind)
            case "delete":
                await device.ok(f"{which.format('STORE')} +FLAGS.SILENT (\\Deleted)")
                if uid in device.flags:
                    device.flags[uid] |= {"\\Deleted"}  # .SILENT: the client knows what it did
                note("add", flags=frozenset({"\\Deleted"}))
            case "expunge" | "uid expunge":
                await device.ok("EXPUNGE" if uid is None else f"UID EXPUNGE {uid}")
                note("expunge")
            case "copy" | "move":
                answer, lines = await device.command(f"{which.format(step.kind.upper())} {step.target}")
                assert answer.startswith(b"OK"), answer
                found = _COPYUID.search(b"\n".join([answer, *lines]))
                assert found is None or int(found[1]) == uid
                note(step.kind, answer=found and found[2], to=step.target)
            case "append":
                answer, _ = await device.command(f"APPEND {step.target} ({flags})", content)
                found = _APPENDUID.search(answer)
                assert found is not None, answer
                note(step.kind, answer=found[1], to=step.target)
            case "replace":
                answer, lines = await device.command(f"{which.format('REPLACE')} {step.target} ({flags})", content)
                assert answer.startswith((b"OK", b"NO [EXPUNGEISSUED]")), answer
                found = _APPENDUID.search(b"\n".join(lines))
                assert (found is None) == answer.startswith(b"NO"), (answer, lines)
                note(step.kind, answer=found and found[1], to=step.target)
        await device.complete()


async def fill(client: Client) -> State:
    """Both mailboxes, with a few messages each; the state they begin in."""
    boxes = {}
    for box in BOXES:
        await client.ok(f"CREATE {box}")
        for number in range(1, MESSAGES + 1):
            reply = await client.append(box, f"Subject: {box}{number}\r\n\r\nx\r\n".encode())
            assert b" OK" in reply, reply
        rows = {number: (f"{box}{number}", frozenset[str]()) for number in range(1, MESSAGES + 1)}
        boxes[box] = MESSAGES + 1, rows
    return state_of(boxes)


async def read(client: Client) -> tuple[State, Mapping[str, Mapping[int, frozenset[str]]]]:
    """What the mailboxes hold, for a session that has only just come; and UID → flags of each."""
    boxes, flags = {}, {}
    for box in BOXES:
        rows = await truth(client, box)
        await client.ok("UNSELECT")
        (line,) = [each for each in await client.ok(f"STATUS {box} (UIDNEXT)") if each.startswith(b"* STATUS")]
        found = re.search(rb"UIDNEXT (\d+)", line)
        assert found is not None
        boxes[box] = int(found[1]), rows
        flags[box] = {uid: each for uid, (_, each) in rows.items()}
    return state_of(boxes), flags


async def play(plans: Sequence[Plan], connect: Callable[[int], Awaitable[Client]], seconds: float) -> None:
    """Carry the plans out side by side; then some order explains it, every pod shows the same, and every copy is true."""
    start = await fill(await connect(0))
    ticks = itertools.count(1)
    actors = []
    for number, plan in enumerate(plans):
        device = Device(await connect(plan.pod))
        await device.open(plan.box)
        actors.append(Actor(number, plan, device, ticks.__next__))
    await asyncio.gather(*[actor.run() for actor in actors])
    history = [command for actor in actors for command in actor.history]
    end, rows = await read(await connect(0))
    assert (end, rows) == await read(await connect(1)), "two pods show different mailboxes"
    assert explains(start, end, history), "no order of these commands explains the end:\n" + "\n".join(
        map(str, [*history, end])
    )
    await asyncio.gather(*[converge(actor, rows[actor.plan.box], seconds) for actor in actors])


async def converge(actor: Actor, rows: Mapping[int, frozenset[str]], seconds: float) -> None:
    """Its copy becomes true within `seconds`, by IDLE or by NOOP."""
    device = actor.device
    if actor.plan.idles:
        await device.idle_until(dict(rows), seconds)
    else:
        await device.look()
    assert device.copy() == rows, f"client {actor.number}"
