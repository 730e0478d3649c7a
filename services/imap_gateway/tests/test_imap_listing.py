"""LIST patterns against their meaning as a regular expression, and in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_gateway.listing import matcher


def plainly(pattern: str, name: str) -> bool:
    expression = "".join(".*" if c == "*" else "[^/]*" if c == "%" else re.escape(c) for c in pattern)
    return re.fullmatch(expression, name, re.DOTALL) is not None


@given(st.text("ab/*%", max_size=12), st.text("ab/", max_size=12))
def test_matches_like_the_expression(pattern: str, name: str) -> None:
    assert matcher("", pattern)(name) is plainly(pattern, name)


@pytest.mark.parametrize(
    ("reference", "pattern", "name", "expected"),
    [
        ("", "inbox", "INBOX", True),
        ("", "inbox/%", "INBOX/a", True),
        ("", "Inboxes", "INBOXES", False),
        ("a/", "%", "a/b", True),
        ("a/", "%", "a/b/c", False),
        ("", "%", "a", True),
        ("", "%", "a/b", False),
        ("", "*", "a/b", True),
        ("", "", "a", False),
    ],
)
def test_examples(reference: str, pattern: str, name: str, expected: bool) -> None:
    assert matcher(reference, pattern)(name) is expected


def test_wildcards_in_a_row_cost_no_more_than_letters() -> None:
    assert not matcher("", "*a" * 2000 + "b")("a" * 1000)
