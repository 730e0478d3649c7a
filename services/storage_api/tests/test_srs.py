"""Rewritten senders: what comes back is who it was, and nothing else does."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_api.directory.srs import DAY_MS, MAX_LOCAL, VALID_DAYS, Srs, is_srs

NOW = 1_800_000_000_000
OLD, NEW = b"o" * 32, b"n" * 32
LOCALS = st.text(string.ascii_letters + string.digits + "._+-=", min_size=1, max_size=20)
HOSTS = st.sampled_from(["a.test", "mail.example.org", "x-y.z"])


@given(LOCALS, HOSTS, st.integers(0, VALID_DAYS))
def test_a_bounce_finds_the_sender(local: str, host: str, days: int) -> None:
    sender = f"{local}@{host}"
    rewritten = Srs([NEW]).rewrite(sender, "ours.test", NOW)
    if rewritten is None:
        return
    assert is_srs(rewritten) and rewritten.endswith("@ours.test")
    assert len(rewritten.rpartition("@")[0]) <= MAX_LOCAL
    back = Srs([NEW, OLD]).reverse(rewritten, NOW + days * DAY_MS)
    assert back is not None
    if not is_srs(sender):
        assert back == sender
        lower = Srs([NEW]).reverse(rewritten.lower(), NOW)
        assert lower is not None and lower.lower() == sender.lower()


@given(st.text(max_size=80))
def test_nothing_else_comes_back(text: str) -> None:
    srs = Srs([NEW])
    assert srs.reverse(text, NOW) is None
    assert srs.reverse(f"SRS0={text}@ours.test", NOW) is None
    assert srs.reverse(f"SRS1={text}@ours.test", NOW) is None
    srs.rewrite(text, "ours.test", NOW)  # whatever a sender says, no error


def test_a_chain_of_forwarders_does_not_grow() -> None:
    first = Srs([OLD]).rewrite("a@from.test", "one.test", NOW)
    second = Srs([NEW]).rewrite(first or "", "two.test", NOW)
    third = Srs([b"t" * 32]).rewrite(second or "", "three.test", NOW)
    assert first and second and third
    assert second.startswith("SRS1=") and len(third) - len(second) == len("three") - len("two")
    assert Srs([b"t" * 32]).reverse(third, NOW) == first  # straight to the first forwarder
    assert Srs([NEW]).reverse(second, NOW) == first
    assert Srs([OLD]).reverse(first, NOW) == "a@from.test"


@pytest.mark.parametrize("days", [VALID_DAYS + 1, 400])
def test_old_ones_are_not_believed(days: int) -> None:
    rewritten = Srs([NEW]).rewrite("a@from.test", "ours.test", NOW) or ""
    assert Srs([NEW]).reverse(rewritten, NOW + days * DAY_MS) is None
    assert Srs([OLD]).reverse(rewritten, NOW) is None


@pytest.mark.parametrize("sender", ["", "a", '"a b"@from.test', "ä@from.test", "x" * 60 + "@from.test", "SRS1=@x.test"])
def test_a_sender_that_does_not_fit_is_not_rewritten(sender: str) -> None:
    assert Srs([NEW]).rewrite(sender, "ours.test", NOW) is None
