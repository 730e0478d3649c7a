"""A dead child is started again, later and later; a long life forgives."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mailboat_local.layout import StackError, StackSettings
from mailboat_local.stack import Stack
from mailboat_local.supervisor import LONGEST_DELAY, STEADY_SECONDS, Backoff, Supervisor


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff()
    delays = []
    for now in range(1, 9):
        delays.append(backoff.died(now))
        backoff.restarted(now)
    assert delays == [0.5, 1, 2, 4, 8, 16, LONGEST_DELAY, LONGEST_DELAY]


def test_a_long_life_starts_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.died(0)
    backoff.restarted(100)
    assert backoff.died(100 + STEADY_SECONDS) == 0.5


class ScriptedStack(Stack):
    """Processes that are what the test says."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, settings=StackSettings(mongodb_uri="m", amqp_url="a"), only=("imap_gateway",))
        self.alive: int | None = 7
        self.starts: Iterator[int | StackError] = iter(())

    def pid(self, name: str) -> int | None:
        return self.alive

    def start(self, name: str, wait_seconds: float | None = None) -> int:
        result = next(self.starts)
        if isinstance(result, StackError):
            raise result
        self.alive = result
        return result


@pytest.fixture
def stack(tmp_path: Path) -> ScriptedStack:
    return ScriptedStack(tmp_path)


def test_restart_after_a_delay_and_after_a_failed_start(stack: ScriptedStack) -> None:
    said: list[str] = []
    now = 0.0
    supervisor = Supervisor(stack, said.append, lambda: None, lambda: now)
    supervisor.step()
    assert said == []

    stack.alive = None
    supervisor.step()
    assert said == ["imap_gateway-1 is gone; starting it again in 0.5 s"]
    now = 0.4
    supervisor.step()
    assert len(said) == 1, "not before its time"

    stack.starts = iter([StackError("port 2143 is in use"), 8])
    now = 0.6
    supervisor.step()
    assert said[1] == "port 2143 is in use\nTrying again in 1 s"
    now = 1.7
    supervisor.step()
    assert said[2] == "imap_gateway-1 started again (pid 8)"
    supervisor.step()
    assert len(said) == 3
