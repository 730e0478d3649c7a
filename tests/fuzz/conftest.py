"""Options of the fuzz tests, as those of the fault tests: how long, which seed, and whether the long forms run.

`--fuzz-seconds N`: how long each random run lasts (2 s; hours find more). `--fuzz-seed N`: play a run again.
`--fuzz-full`: attacks in their full size, each against a canary's latency; `make test-fuzz` gives it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fuzz.watch import NOTES


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz-seconds", type=float, default=2.0, help="length of each random run of tests/fuzz")
    group.addoption("--fuzz-seed", type=int, default=None, help="seed of tests/fuzz, as a failed run printed it")
    group.addoption("--fuzz-full", action="store_true", help="tests/fuzz with attacks in their full size")


@pytest.fixture(scope="session")
def fuzz_seconds(request: pytest.FixtureRequest) -> float:
    """Length of a random run."""
    seconds: float = request.config.getoption("--fuzz-seconds")
    return seconds


@pytest.fixture(scope="session")
def fuzz_full(request: pytest.FixtureRequest) -> bool:
    """Whether attacks have their full size."""
    full: bool = request.config.getoption("--fuzz-full")
    return full


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's choices, printed: pytest shows it when the test fails."""
    given: int | None = request.config.getoption("--fuzz-seed")
    chosen = random.SystemRandom().randrange(1_000_000) if given is None else given
    print(f"--fuzz-seed {chosen}")
    return chosen


@pytest.fixture(scope="session", autouse=True)
def figures() -> Iterator[None]:
    """What the attacks measured, shown at the end (with -s)."""
    yield
    print("\n" + "\n".join(NOTES))
