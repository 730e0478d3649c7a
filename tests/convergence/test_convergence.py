"""Several clients on two pods change the same mailboxes at once: the end is one that some order of their commands makes,
and every session's copy becomes equal to it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.convergence.linear import Command, State, explains, state_of
from tests.convergence.plans import draw, play
from tests.convergence.pods import two_pods
from tests.support.stack import Live

SECONDS = 1.0
"""The promise: a change is seen on every pod within a second."""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False), st.integers(0, 1 << 32))
def test_some_order_explains_what_several_clients_did(rng: random.Random, seed: int) -> None:
    plans = draw(rng, rng.randint(2, 3), 5)

    async def run() -> None:
        async with two_pods(seed) as pods:
            await play(plans, pods.client, SECONDS)

    asyncio.run(run())


@pytest.mark.stack
@pytest.mark.parametrize("seed", range(12))
async def test_some_order_explains_it_on_the_whole_platform(live: Live, seed: int) -> None:
    account = live.account()
    await play(draw(random.Random(seed), 3, 5), lambda pod: live.imap(1 + pod % 2, account), SECONDS)


ROW = ("a", frozenset[str]())
START = state_of({"one": (3, {1: ROW, 2: ("b", frozenset())}), "two": (1, {})})


def end(**boxes: tuple[int, dict[int, tuple[str, frozenset[str]]]]) -> State:
    return state_of(boxes)


def lost_update() -> tuple[State, list[Command]]:
    """Two clients add a flag each; one of them is missing."""
    history = [Command(n, "add", "one", 1, flags=frozenset({f"f{n}"}), sent=1 + n, answered=3 + n) for n in (0, 1)]
    return end(one=(3, {1: ("a", frozenset({"f0"})), 2: ("b", frozenset())}), two=(1, {})), history


def moved_twice() -> tuple[State, list[Command]]:
    """Two clients move the same message, and both are told that they did."""
    history = [Command(n, "move", "one", 1, "two", answer=1 + n, sent=1 + n, answered=3 + n) for n in (0, 1)]
    return end(one=(3, {2: ("b", frozenset())}), two=(3, {1: ROW, 2: ROW})), history


def out_of_time() -> tuple[State, list[Command]]:
    """A flag that was removed after it was added, answer by answer, is still there."""
    flag = frozenset({"f"})
    history = [
        Command(0, "add", "one", 1, flags=flag, sent=1, answered=2),
        Command(1, "remove", "one", 1, flags=flag, sent=3, answered=4),
    ]
    return end(one=(3, {1: ("a", flag), 2: ("b", frozenset())}), two=(1, {})), history


def resurrected() -> tuple[State, list[Command]]:
    """A message that was replaced is still there."""
    history = [Command(0, "replace", "one", 1, "one", subject="c", answer=3, sent=1, answered=2)]
    return end(one=(4, {1: ROW, 2: ("b", frozenset()), 3: ("c", frozenset())}), two=(1, {})), history


@pytest.mark.parametrize("wrong", [lost_update, moved_twice, out_of_time, resurrected], ids=lambda each: each.__name__)
def test_the_check_notices(wrong: Callable[[], tuple[State, list[Command]]]) -> None:
    state, history = wrong()
    assert not explains(START, state, history)


def test_the_check_finds_the_one_order() -> None:
    history = [
        Command(0, "move", "one", 1, "two", answer=1, sent=1, answered=9),
        Command(0, "add", "one", 1, flags=frozenset({"late"}), sent=10, answered=11),
        Command(1, "set", "one", 1, flags=frozenset({"early"}), sent=2, answered=3),
        Command(2, "copy", "one", 1, "one", answer=None, sent=4, answered=12),
    ]
    state = end(one=(3, {2: ("b", frozenset())}), two=(2, {1: ("a", frozenset({"early"}))}))
    assert explains(START, state, history)
