"""Ids, limits, errors, logs, metrics and back-off."""

import asyncio
import io
import json
import logging
import uuid
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common import backoff, ids, log, metrics
from mailboat_common.errors import Internal, MailboatError, PeerError, Refused, RefusedCode, Unavailable
from mailboat_common.limits import ByteBudget, PerKey, address_key

# -- ids


def test_uuid7_is_one_and_grows() -> None:
    made = [ids.uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))
    for value in (made[0], made[-1]):
        parsed = uuid.UUID(bytes=value)
        assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_uuid7_carries_the_time_and_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids.uuid7()
    monkeypatch.setattr("time.time_ns", lambda: 0)
    assert ids.uuid7() > before
    later = int.from_bytes(before[:6], "big") + 60_000
    monkeypatch.setattr("time.time_ns", lambda: later * 1_000_000)
    assert int.from_bytes(ids.uuid7()[:6], "big") == later
    monkeypatch.undo()
    monkeypatch.setattr(ids, "_last_ms", 0)


def test_uuid7_moves_to_the_next_millisecond_when_one_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids.uuid7()
    monkeypatch.setattr(ids, "_last_tail", ids._TAIL_MASK)
    monkeypatch.setattr(ids, "_last_ms", 2**47)
    full = ids.uuid7()
    assert int.from_bytes(full[:6], "big") == 2**47 + 1
    assert full > before


def test_trace_ids_have_one_alphabet_and_length() -> None:
    made = ids.trace_id()
    assert len(made) == 26
    assert set(made) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    assert ids.encode_id(b"\xff" * 16) == "7" + "z" * 25
    assert ids.encode_id(b"\0" * 16) == "0" * 26


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_encoded_ids_sort_like_their_bytes(first: bytes, second: bytes) -> None:
    assert (ids.encode_id(first) < ids.encode_id(second)) == (first < second)


def test_shards_are_stable_and_spread() -> None:
    assert ids.shard(b"\0" * 16) == 0x55  # on the wire as a routing key: may never change
    counts = [0] * 256
    for _ in range(25_600):
        counts[ids.shard(ids.uuid7())] += 1
    assert min(counts) > 50
    assert max(counts) < 160


# -- limits


async def test_budget_is_first_come_first_served() -> None:
    budget = ByteBudget(100)
    assert await budget.acquire(60, 1)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        assert await budget.acquire(size, 10)
        order.append(name)

    large = asyncio.create_task(take("large", 80))
    await asyncio.sleep(0)
    small = asyncio.create_task(take("small", 10))
    await asyncio.sleep(0)
    assert (budget.waiting, order) == (2, [])
    assert not budget.try_acquire(1), "nobody overtakes"
    budget.release(60)
    await asyncio.gather(large, small)
    assert order == ["large", "small"]
    assert budget.used == 90


async def test_budget_gives_up_after_the_timeout_and_lets_the_next_pass() -> None:
    budget = ByteBudget(100)
    assert not await budget.acquire(101, 60), "could never be"
    assert budget.try_acquire(60)
    small = None

    async def wait_large() -> bool:
        return await budget.acquire(80, 0.02)

    large = asyncio.create_task(wait_large())
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.acquire(40, 10))
    assert not await large
    assert await small
    assert (budget.used, budget.waiting) == (100, 0)


async def test_cancelled_waiters_hold_nothing() -> None:
    budget = ByteBudget(10)
    assert budget.try_acquire(10)
    waiting = asyncio.create_task(budget.acquire(5, 10))
    await asyncio.sleep(0)
    budget.release(10)  # granted, but the waiter hasn't run yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (budget.used, budget.waiting) == (0, 0)


def test_per_key_forgets_who_holds_nothing() -> None:
    held: PerKey[str] = PerKey(2)
    assert [held.acquire("a") for _ in range(3)] == [True, True, False]
    assert held.acquire("b")
    held.release("a")
    assert held.acquire("a")
    for key in ("a", "a", "b"):
        held.release(key)
    assert len(held) == 0
    unlimited: PerKey[str] = PerKey(0)
    assert all(unlimited.acquire("a") for _ in range(1000))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("0.0.0.0", "::", False),
    ],
)
def test_address_keys(first: str, second: str, same: bool) -> None:
    assert (address_key(ip_address(first)) == address_key(ip_address(second))) is same


# -- errors


def test_refused_codes_are_append_only() -> None:
    assert len({code.value for code in RefusedCode}) == len(RefusedCode)
    error = Refused(RefusedCode.OVER_QUOTA, "Mailbox is full", "limit 5 GB, used 5 GB")
    assert (error.code, error.public, error.private) == (
        RefusedCode.OVER_QUOTA,
        "Mailbox is full",
        "limit 5 GB, used 5 GB",
    )


@pytest.mark.parametrize("error", [Unavailable("mongod: no primary"), Internal("uid_next went back: 7 < 9")])
def test_failures_show_the_client_a_fixed_text(error: MailboatError) -> None:
    assert error.private
    assert error.private not in error.public
    assert not isinstance(error, PeerError)


# -- logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    stream = io.StringIO()
    log.configure("test_service", "info", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def records(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_service_and_trace(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(trace_id="abc"):
        log.get_logger("module").info("message accepted", size=12, cause=ValueError("x"))
    log.get_logger("module").debug("below the level")
    (record,) = records(lines)
    assert record["event"] == "message accepted"
    assert (record["service"], record["level"], record["trace_id"], record["size"], record["module"]) == (
        "test_service",
        "info",
        "abc",
        12,
        "module",
    )
    assert str(record["timestamp"]).endswith("Z")


def test_secrets_are_masked(lines: io.StringIO) -> None:
    log.get_logger("module").info(
        "called", password="p1", api_token="p2", Authorization="p3", url="amqp://user:p4@host:5672/", tokens=3
    )
    logging.getLogger("library").warning("at http://user:p5@host/")
    assert not [secret for secret in ("p1", "p2", "p3", "p4", "p5") if secret in lines.getvalue()]
    assert records(lines)[0]["url"] == "amqp://user:[secret]@host:5672/"
    assert records(lines)[0]["tokens"] == 3


def test_libraries_come_out_alike_with_their_traceback(lines: io.StringIO) -> None:
    try:
        raise RuntimeError("library bug")
    except RuntimeError:
        logging.getLogger("library").exception("failed with %s", "argument")
    logging.getLogger("library").info("chatter")
    (record,) = records(lines)
    assert (record["event"], record["module"], record["level"]) == ("failed with argument", "library", "error")
    assert "RuntimeError: library bug" in str(record["exception"])


# -- metrics, back-off


def test_metric_names_have_the_prefix_and_counters_their_ending() -> None:
    metrics.counter("test_things_total", "Things", ("kind",)).labels("a").inc()
    metrics.histogram("test_duration_seconds", "Time").observe(0.003)
    text = metrics.exposition().decode()
    assert 'mailboat_test_things_total{kind="a"} 1.0' in text
    assert 'mailboat_test_duration_seconds_bucket{le="0.005"} 1.0' in text
    with pytest.raises(ValueError, match="_total"):
        metrics.counter("test_things", "Things")
    with pytest.raises(ValueError, match="exists"):
        metrics.gauge("draining", "Twice")


def test_timed_observes_failures_too() -> None:
    histogram = metrics.histogram("test_timed_seconds", "Time")
    with pytest.raises(KeyError), metrics.timed(histogram):
        raise KeyError
    assert "mailboat_test_timed_seconds_count 1.0" in metrics.exposition().decode()


def test_backoff_grows_to_its_bound_with_jitter() -> None:
    assert 0.05 <= backoff.backoff(0) <= 0.1
    assert all(2.5 <= backoff.backoff(attempt) <= 5.0 for attempt in (6, 50, 10_000))
    assert len({backoff.backoff(10) for _ in range(50)}) > 10


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alice@example.org", "alice@example.org"),
        ("Hunter2!", "[no address]"),
        ("p@ssw0rd", "[no address]"),
        ("correct horse@battery.staple", "[no address]"),
        ("", "[no address]"),
    ],
)
def test_a_login_that_is_no_address_may_be_a_password(name: str, shown: str) -> None:
    assert log.login_shown(name) == shown
    assert log.login_shown(name, known=True) == name
