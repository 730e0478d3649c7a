"""One stack of two replicas for all fault tests, on ports and in a directory of its own.

`--faults-full`: the full forms, as `make test-faults` asks for (minutes each). `--faults-seconds N`: how long each random
run lasts (12 s; hours find more). `--faults-seed N`: play a run again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack

from tests.faults.harness import Platform


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--faults-full", action="store_true", help="the full forms of tests/faults")
    group.addoption("--faults-seconds", type=float, default=12.0, help="length of each random run of tests/faults")
    group.addoption("--faults-seed", type=int, default=None, help="seed of tests/faults, as a failed run printed it")


@pytest.fixture(scope="session")
def faults_full(request: pytest.FixtureRequest) -> bool:
    """Whether the full forms are wanted."""
    full: bool = request.config.getoption("--faults-full")
    return full


@pytest.fixture(scope="session")
def faults_seconds(request: pytest.FixtureRequest) -> float:
    """Length of a random run."""
    seconds: float = request.config.getoption("--faults-seconds")
    return seconds


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's choices."""
    given: int | None = request.config.getoption("--faults-seed")
    return random.SystemRandom().randrange(1_000_000) if given is None else given


@pytest.fixture(scope="session")
def started_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The stack, started once."""
    directory = tmp_path_factory.mktemp("faults") / "stack"
    services = ("storage_api", "storage_worker", "smtp_ingress", "imap_gateway")
    stack = Stack(directory, port_offset=free_offset(replicas=2), replicas=2, only=services)
    try:
        stack.up()
        made = Platform(stack)
        made.setup()
        yield made
        print("\n".join(made.notes))
    finally:
        stack.down()


@pytest.fixture
def platform(started_platform: Platform) -> Platform:
    """The stack, whole and unarmed, whatever the test before has left."""
    started_platform.stack.extra_env.clear()
    started_platform.stack.up()
    return started_platform


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --faults-full what is marked `full` isn't part of the run."""
    if config.getoption("--faults-full"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]
