"""The retry schedule: the times a message is tried at, and that no input breaks its promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.config import SettingsError, parse
from storage_api.queue.retry import HOUR_MS, JITTER, MINUTE_MS, RetrySchedule
from storage_api.settings import Settings

_ROLE = {"MB_ROLE": "worker"}
QUEUED = 1_800_000_000_000


def _times(schedule: RetrySchedule, jitter: float, took: int = 0) -> list[int]:
    """When each attempt after the first begins, in ms after queueing, until the message is given up."""
    out: list[int] = []
    now = QUEUED
    expires_at = schedule.expires_at(QUEUED)
    for attempt in range(1, 10_000):
        now += took
        at = schedule.next_attempt(attempt, queued_at=QUEUED, expires_at=expires_at, now=now, jitter=jitter)
        if at is None:
            return out
        out.append(at - QUEUED)
        now = at
    raise AssertionError("the schedule never ends")


def test_waits_double_from_five_minutes_to_four_hours_and_end_after_five_days() -> None:
    minutes = [t // MINUTE_MS for t in _times(RetrySchedule(), 0.0)]
    assert minutes[:8] == [5, 15, 35, 75, 155, 240, 480, 720]
    assert minutes[-2:] == [7200 - 240, 7200]
    assert len(minutes) == 35


def test_the_first_wait_is_never_shorter_than_greylisting_asks_for() -> None:
    assert _times(RetrySchedule(), 0.0)[0] == 5 * MINUTE_MS
    assert _times(RetrySchedule(), 0.999)[0] < 5 * MINUTE_MS * (1 + JITTER)


def test_an_attempt_falls_shortly_after_the_time_of_the_delay_notice() -> None:
    for jitter in (0.0, 0.3, 0.999):
        assert any(4 * HOUR_MS <= t <= 4 * HOUR_MS + 10 * MINUTE_MS for t in _times(RetrySchedule(), jitter))


def test_without_delay_notices_the_waits_only_double() -> None:
    schedule = RetrySchedule(delay_notice_ms=0)
    assert schedule.delay_notice_at(QUEUED) is None
    assert [t // MINUTE_MS for t in _times(schedule, 0.0)][:7] == [5, 15, 35, 75, 155, 315, 555]


def test_a_message_is_given_up_once_its_own_end_is_reached() -> None:
    schedule = RetrySchedule()
    for late in (0, 1, HOUR_MS):
        assert schedule.next_attempt(9, queued_at=QUEUED, expires_at=QUEUED, now=QUEUED + late, jitter=0.5) is None


@pytest.mark.parametrize(
    "senseless",
    [
        {"first_ms": 0},
        {"first_ms": 2 * HOUR_MS, "longest_ms": HOUR_MS},
        {"lifetime_ms": HOUR_MS},
        {"delay_notice_ms": -1},
        {"delay_notice_ms": 5 * 24 * HOUR_MS},
    ],
)
def test_a_senseless_schedule_is_refused(senseless: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        RetrySchedule(**senseless)


def test_the_settings_give_the_schedule_and_are_refused_together() -> None:
    assert parse(Settings, _ROLE).retry_schedule() == RetrySchedule()
    short = parse(Settings, _ROLE | {"MB_QUEUE_LIFETIME_HOURS": "6", "MB_DELAY_NOTICE_HOURS": "0"})
    assert short.retry_schedule().lifetime_ms == 6 * HOUR_MS
    with pytest.raises(SettingsError, match="delay notice"):
        parse(Settings, _ROLE | {"MB_QUEUE_LIFETIME_HOURS": "4"})


@st.composite
def _schedules(draw: st.DrawFn) -> RetrySchedule:
    first = draw(st.integers(MINUTE_MS, HOUR_MS))
    longest = draw(st.integers(max(first, 30 * MINUTE_MS), 24 * HOUR_MS))
    lifetime = draw(st.integers(longest + 1, 10 * 24 * HOUR_MS))
    return RetrySchedule(first, longest, lifetime, draw(st.integers(0, lifetime - 1)))


@given(
    schedule=_schedules(),
    attempt=st.integers(1, 10**9),
    age=st.integers(0, 11 * 24 * HOUR_MS),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_any_next_attempt_is_neither_rushed_nor_late(
    schedule: RetrySchedule, attempt: int, age: int, jitter: float
) -> None:
    now = QUEUED + age
    expires_at = schedule.expires_at(QUEUED)
    at = schedule.next_attempt(attempt, queued_at=QUEUED, expires_at=expires_at, now=now, jitter=jitter)
    if at is None:
        assert now + schedule.first_ms > expires_at
    else:
        assert now + schedule.first_ms <= at <= expires_at
        assert at - now <= schedule.longest_ms * (1 + JITTER)


@given(schedule=_schedules(), jitter=st.floats(0, 1, exclude_max=True), took=st.integers(0, 10 * MINUTE_MS))
def test_every_message_is_given_up_after_an_attempt_near_its_end(
    schedule: RetrySchedule, jitter: float, took: int
) -> None:
    times = _times(schedule, jitter, took)
    assert times == sorted(set(times))
    if times:
        assert schedule.lifetime_ms - schedule.first_ms - took < times[-1] <= schedule.lifetime_ms
