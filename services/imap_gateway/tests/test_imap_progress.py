"""INPROGRESS (RFC 9585): when it is told, what of, and when it isn't."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from imap_gateway.bodies import Bodies
from imap_gateway.progress import Progress
from imap_gateway.session import Session

from tests.support.imap import TEST_POLICY, Client, Running, imap_gateway

SECONDS = 10.0


@dataclass
class Clock:
    """Timers that fire when the test says so."""

    due: list[Callable[[], None]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cancelled: int = 0

    def later(self, seconds: float, call: Callable[[], None]) -> Clock:
        self.seconds.append(seconds)
        self.due.append(call)
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def tick(self) -> None:
        self.due.pop()()


class Stage:
    """A session that keeps what is written to it, and the clock of its commands."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.lines: list[bytes] = []
        self.masked: frozenset[bytes] = frozenset()
        self.link = SimpleNamespace(full=False)
        self.gateway = SimpleNamespace(policy=SimpleNamespace(progress_seconds=SECONDS))

    def write(self, data: bytes) -> None:
        self.lines.append(data)

    def progress(self, tag: bytes = b"A1", goal: int | None = None) -> Progress:
        return Progress(cast(Session, self), tag, goal, later=self.clock.later)

    def told(self) -> list[bytes]:
        found, self.lines = self.lines, []
        return found


def test_a_quick_command_says_nothing() -> None:
    stage = Stage()
    with stage.progress(goal=1000) as progress:
        progress.at(500, 1000)
    assert stage.told() == []
    assert stage.clock.seconds == [SECONDS]
    assert stage.clock.cancelled == 1


def test_a_long_command_says_how_far_it_is() -> None:
    stage = Stage()
    with stage.progress(b"A001", 1000) as progress:
        for done in (454, 999, 1000):
            progress.at(done, 1000)
            stage.clock.tick()
        assert stage.clock.seconds == [SECONDS] * 4
    assert stage.told() == [
        b'* OK [INPROGRESS ("A001" 454 1000)] Working\r\n',
        b'* OK [INPROGRESS ("A001" 999 1000)] Working\r\n',
        b'* OK [INPROGRESS ("A001" 999 1000)] Working\r\n',  # the goal is the tagged OK
    ]


def test_stages_share_the_way_and_nothing_goes_back() -> None:
    stage = Stage()
    with stage.progress(goal=100) as progress:
        progress.stages = 2
        progress.at(5, 10)
        stage.clock.tick()
        progress.next_stage()
        stage.clock.tick()
        progress.at(1, 2)
        stage.clock.tick()
        progress.at(1, 4)
        stage.clock.tick()
    assert [int(line.split()[4]) for line in stage.told()] == [25, 50, 75, 75]


@pytest.mark.parametrize("goal", [None, 0])
def test_without_a_goal_there_are_no_numbers(goal: int | None) -> None:
    stage = Stage()
    with stage.progress(b"a.7", goal):
        stage.clock.tick()
    with stage.progress(b"a]7", goal):
        stage.clock.tick()
    assert stage.told() == [
        b'* OK [INPROGRESS ("a.7" NIL NIL)] Working\r\n',
        b"* OK [INPROGRESS (NIL NIL NIL)] Working\r\n",
    ]


def test_nothing_is_said_within_a_response_or_to_a_client_that_does_not_read() -> None:
    stage = Stage()
    with stage.progress() as progress:
        with progress.silently():
            stage.clock.tick()
        stage.link.full = True
        stage.clock.tick()
        assert stage.told() == []
        stage.link.full = False
        stage.clock.tick()
    assert len(stage.told()) == 1


def test_nothing_is_said_where_the_capability_is_hidden() -> None:
    stage = Stage()
    stage.masked = frozenset([b"INPROGRESS"])
    with stage.progress(goal=3) as progress:
        progress.at(1, 3)
    assert stage.clock.due == []


def test_a_command_that_fails_stops_its_clock() -> None:
    stage = Stage()
    with pytest.raises(RuntimeError), stage.progress():
        raise RuntimeError
    assert stage.clock.cancelled == 1


# --- in sessions ---


async def started(running: Running, messages: int = 3) -> Client:
    client = await running.session("INBOX")
    for number in range(messages):
        await client.append("INBOX", b"Subject: %d\r\n\r\nbody\r\n" % number)
    await client.ok("NOOP")
    return client


@pytest.mark.parametrize(
    ("command", "method"),
    [
        ("SEARCH BODY body", "contents"),
        ("SEARCH SUBJECT 1", "infos"),
        ("UID SORT (SUBJECT) UTF-8 ALL", "sort_keys"),
        ("THREAD REFERENCES UTF-8 ALL", "sort_keys"),
        ("FETCH 1:* ENVELOPE", "infos"),
    ],
)
async def test_commands_that_wait_for_the_store_tell_of_it(
    monkeypatch: pytest.MonkeyPatch, command: str, method: str
) -> None:
    told = asyncio.Event()
    usual = getattr(Bodies, method)

    async def slowly(*args: Any, **more: Any) -> Any:
        await told.wait()
        return await usual(*args, **more)

    async with imap_gateway(policy=replace(TEST_POLICY, progress_seconds=0.001)) as running:
        client = await started(running)
        monkeypatch.setattr(Bodies, method, slowly)
        client.send(f"x1 {command}\r\n".encode())
        line = await client.response()
        assert re.fullmatch(rb'\* OK \[INPROGRESS \("x1" [012] 3\)\] Working', line), line
        told.set()
        rest = await client.until(b"x1 ")
        assert rest[-1].startswith(b"x1 OK")


async def test_no_line_is_sent_within_a_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is sent in pieces, between which the timer is due again and again."""
    message = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000
    async with imap_gateway(policy=replace(TEST_POLICY, progress_seconds=0.0)) as running:
        client = await running.session("INBOX")
        await client.append("INBOX", message)
        await client.ok("NOOP")
        client.send(b"x1 FETCH 1 BODY.PEEK[]\r\n")
        lines = [line for line in await client.until(b"x1 ") if b"[INPROGRESS " not in line[:20]]
        assert lines[0] == b"* 1 FETCH (BODY[] {%d}\r\n%b)" % (len(message), message)
