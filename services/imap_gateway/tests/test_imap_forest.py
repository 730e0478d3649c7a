"""Parent links without loops: as a climb would have it, and quickly."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imap_gateway import forest
from imap_gateway.forest import NONE, Forest


def ancestors(parents: list[int], node: int) -> set[int]:
    found = set()
    while node != NONE:
        found.add(node)
        node = parents[node]
    return found


@pytest.mark.parametrize("max_climb", [0, 3, 1000])
@given(st.randoms(use_true_random=False), st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_links_are_refused_only_for_loops(max_climb: int, rng: random.Random, nodes: int) -> None:
    usual, forest.MAX_CLIMB = forest.MAX_CLIMB, max_climb
    try:
        links = Forest()
        expected = [links.add() for _ in range(nodes)]
        expected = [NONE] * nodes
        for _ in range(60):
            child, parent = rng.randrange(len(expected)), rng.randrange(len(expected))
            if rng.random() < 0.05:
                links.add()
                expected.append(NONE)
            elif expected[child] != NONE:
                if rng.random() < 0.4:
                    links.cut(child)
                    expected[child] = NONE
            else:
                loop = child in ancestors(expected, parent)
                assert links.link(child, parent) is not loop
                if not loop:
                    expected[child] = parent
            assert links.parents == expected
    finally:
        forest.MAX_CLIMB = usual


def test_a_chain_costs_no_climb() -> None:
    """Each link is asked from the lower end of a chain: by climbing alone these would be 500,000,000 steps."""
    links, rng = Forest(), random.Random(1)
    for _ in range(30_000):
        links.add()
    for node in range(1, 30_000):
        assert links.link(node, node - 1)
    assert not links.link(0, 29_999)
    for _ in range(5_000):
        node = rng.randrange(15_000, 30_000)
        links.cut(node)
        assert not links.link(0, 14_999)
        assert links.link(node, node - 1)
