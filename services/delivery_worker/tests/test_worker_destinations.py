"""Whose turn it is, and how much is in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from delivery_worker.budget import Budget
from delivery_worker.destination import FIRST_WINDOW, HORIZON, Destinations

from tests.support.outbound import Clock


@dataclass(frozen=True)
class Thing:
    domain: str
    number: int = 0


def table(limit: int = 10, room: int = 100, clock: Clock | None = None) -> Destinations[Thing]:
    return Destinations[Thing](limit=limit, room=room, clock=clock or Clock())


def test_turns_go_round() -> None:
    found = table()
    for number in range(3):
        for domain in ("a", "b", "c"):
            assert found.add(Thing(domain, number))
    order = [thing.domain for _, thing in found.next(7)]
    assert order == ["a", "b", "c", "a", "b", "c", "a"]
    assert found.waiting == 2
    assert [thing.domain for _, thing in found.next(100)] == ["b", "c"]
    assert found.next(100) == []


def test_a_slow_destination_takes_no_more_than_its_window() -> None:
    found = table()
    for number in range(30):
        found.add(Thing("slow", number))
    assert len(found.next(100)) == FIRST_WINDOW
    found.add(Thing("quick"))
    assert [thing.domain for _, thing in found.next(100)] == ["quick"]


def test_the_window_grows_with_success_and_halves_without() -> None:
    found = table(limit=8, room=1000)
    for number in range(200):
        found.add(Thing("a", number))
    sizes = []
    for reached in (True, True, True, False, False, False, False, True, None):
        chosen = found.next(100)
        sizes.append(len(chosen))
        found.done("a", reached=reached)
        for _ in chosen[1:]:
            found.done("a", reached=None)
    assert sizes == [5, 6, 7, 8, 4, 2, 1, 1, 2]


def test_domains_of_one_hop_are_one_destination() -> None:
    found = table()
    for number in range(10):
        found.learn(f"d{number}", "mx.provider.example")
        found.add(Thing(f"d{number}"))
    chosen = found.next(100)
    assert len(chosen) == FIRST_WINDOW
    assert {key for key, _ in chosen} == {"mx.provider.example"}


def test_what_a_destination_will_not_get_done_is_given_back() -> None:
    clock = Clock()
    found = table(limit=4, room=40, clock=clock)
    taken = [found.add(Thing("slow", number)) for number in range(100)]
    assert taken.count(True) == 20  # half the table
    assert all(found.add(Thing(f"other{number}")) for number in range(30))
    assert not found.add(Thing("slow"))


def test_a_destination_that_gets_much_done_may_have_much_waiting() -> None:
    clock = Clock()
    found = table(limit=4, room=40, clock=clock)
    for _ in range(50):
        assert found.add(Thing("quick"))
        ((key, _),) = found.next(1)
        found.done(key, reached=True)
    assert [found.add(Thing("quick")) for _ in range(100)].count(True) == 54
    clock.now += 2 * HORIZON + 1
    assert not found.add(Thing("quick"))


def test_the_table_is_emptied_at_the_end() -> None:
    found = table()
    for number in range(20):
        found.add(Thing(f"d{number % 3}", number))
    assert len(list(found.take_all())) == 20
    assert found.waiting == 0
    assert found.next(10) == []


async def test_octets_are_given_in_turn_and_too_many_to_who_is_alone() -> None:
    budget = Budget(100)
    await budget.acquire(60)
    order: list[str] = []

    async def want(name: str, octets: int) -> None:
        await budget.acquire(octets)
        order.append(name)

    large = asyncio.create_task(want("large", 500))
    await asyncio.sleep(0)
    small = asyncio.create_task(want("small", 10))
    gone = asyncio.create_task(want("gone", 10))
    await asyncio.sleep(0)
    assert order == []
    assert budget.free == 0
    gone.cancel()
    budget.release(60)
    await large
    assert order == ["large"]
    budget.release(500)
    await small
    budget.release(10)
    assert order == ["large", "small"]
    assert budget.free == 100
