"""Turns in the event loop."""

from __future__ import annotations

import asyncio

import pytest
from mailboat_common import turn
from mailboat_common.turn import Turn


async def test_who_passes_on_lets_others_run_and_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(turn.time, "monotonic", lambda: now)
    mine = Turn()
    assert not mine.over
    now += turn.TURN_SECONDS
    assert mine.over
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await mine.pass_on()
    assert ran == [1]
    assert not mine.over
