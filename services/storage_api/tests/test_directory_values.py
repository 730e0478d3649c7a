"""Addresses, password hashes and the worker's supervisor: what needs no database."""

from __future__ import annotations

import asyncio

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from passlib.hash import sha512_crypt
from storage_api.db.driver import AutoReconnect
from storage_api.directory import addresses, passwords
from storage_api.directory.authenticate import CACHE_SECONDS, KNOWN_CLIENTS, VerifiedCache
from storage_api.directory.throttle import client_key, login_key
from storage_api.space import Space
from storage_api.worker.supervisor import Job, Supervisor

PASSWORD = "correct horse"


@pytest.mark.parametrize(
    ("text", "full", "account", "tag"),
    [
        ("alice@example.test", "alice@example.test", "alice@example.test", ""),
        ("Alice.B@EXAMPLE.test.", "alice.b@example.test", "alice.b@example.test", ""),
        ("alice+Lists@example.test", "alice+lists@example.test", "alice@example.test", "lists"),
        ("alice+a+b@example.test", "alice+a+b@example.test", "alice@example.test", "a+b"),
        ("+x@example.test", "+x@example.test", "+x@example.test", ""),
        ('"alice"@example.test', "alice@example.test", "alice@example.test", ""),
        ("user@b\u00fccher.example", "user@xn--bcher-kva.example", "user@xn--bcher-kva.example", ""),
        ("u@xn--bcher-kva.example", "u@xn--bcher-kva.example", "u@xn--bcher-kva.example", ""),
        ("J\u00d6RG@example.test", "j\u00f6rg@example.test", "j\u00f6rg@example.test", ""),
        ("jo\u0308rg@example.test", "j\u00f6rg@example.test", "j\u00f6rg@example.test", ""),
    ],
)
def test_addresses_have_one_form(text: str, full: str, account: str, tag: str) -> None:
    parsed = addresses.parse(text)
    assert parsed is not None
    assert (parsed.full, parsed.account, parsed.tag) == (full, account, tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@example.test",
        "alice@",
        "a b@example.test",
        "a..b@example.test",
        ".a@example.test",
        "alice@[192.0.2.1]",
        "alice@-example.test",
        "alice@exa mple.test",
        "a\0b@example.test",
        '"a b"@example.test',
        "a@b@example.test",
        "x" * 65 + "@example.test",
        "a@" + "x" * 64 + ".test",
        "a@" + "\u2010" + ".test",
    ],
)
def test_what_is_no_address(text: str) -> None:
    assert addresses.parse(text) is None


@given(st.text(max_size=60))
def test_parsing_never_fails_and_is_idempotent(text: str) -> None:
    parsed = addresses.parse(text)
    if parsed is not None:
        assert addresses.parse(parsed.full) == parsed


def test_an_account_has_no_tag() -> None:
    for bad in ("a+b@example.test", "+b@example.test", "nothing"):
        with pytest.raises(Refused) as refused:
            addresses.require(bad)
        assert refused.value.code is RefusedCode.INVALID
    with pytest.raises(Refused):
        addresses.require_domain("localhost")


SHA512 = "{SHA512-CRYPT}" + sha512_crypt.using(rounds=5000).hash(PASSWORD)
BCRYPT = "{BCRYPT}" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
ARGON2 = passwords.hash_now(PASSWORD)


@pytest.mark.parametrize(
    "text",
    [SHA512, BCRYPT, ARGON2, SHA512[14:], BCRYPT[8:], "{ARGON2ID}" + ARGON2],
    # Salts are random: without names of their own each process of a parallel run would collect other tests.
    ids=["sha512", "bcrypt", "argon2", "sha512 bare", "bcrypt bare", "argon2 tagged"],
)
def test_known_hashes_are_imported_and_verified(text: str) -> None:
    stored = passwords.check_imported(text)
    assert passwords.check_imported(stored) == stored
    assert passwords.verify_now(stored, PASSWORD)
    assert not passwords.verify_now(stored, PASSWORD + "x")
    assert not passwords.verify_now(stored, "nul\0")
    assert passwords.is_ours(stored) == (ARGON2 in text)


def test_bcrypt_sees_72_bytes_and_other_prefixes() -> None:
    long = "x" * 100
    digest = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode()
    assert passwords.verify_now(passwords.check_imported("{BCRYPT}" + digest.replace("$2b$", "$2y$")), long)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "{PLAIN}secret",
        "$1$salt$abcdefghijklmnopqrstuv",
        "{BCRYPT}" + SHA512[14:],
        BCRYPT.replace("$04$", "$20$"),
        ARGON2.replace("m=19456", "m=99999999"),
        ARGON2.replace("t=2", "t=99"),
        "{SHA512-CRYPT}$6$rounds=9999999$salt$" + "a" * 86,
    ],
    ids=[
        "empty",
        "plain",
        "PLAIN",
        "md5",
        "bcrypt of sha512",
        "bcrypt cost",
        "argon2 memory",
        "argon2 time",
        "sha512 rounds",
    ],
)
def test_unknown_or_costly_hashes_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        passwords.check_imported(text)


@pytest.mark.parametrize("password", ["short", "x" * 1025, "with\nnewline", "lone \udc80 surrogate"])
def test_password_policy(password: str) -> None:
    with pytest.raises(Refused):
        passwords.check_policy(password)


async def test_the_pool_bounds_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = passwords.PasswordPool(1)
    monkeypatch.setattr(passwords, "WAITING_PER_THREAD", 1)
    first = asyncio.create_task(pool.verify(ARGON2, PASSWORD))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await pool.verify(ARGON2, PASSWORD)
    assert await first
    assert not await pool.verify(None, "the password nobody has")
    pool.close()


def test_the_verified_cache_forgets() -> None:
    now = 0
    cache = VerifiedCache(lambda: now, limit=2)
    one, two, three = (cache.digest(b"a" * 16, "hash", password) for password in ("1", "2", "3"))
    assert one != cache.digest(b"a" * 16, "other hash", "1")
    assert one != cache.digest(b"b" * 16, "hash", "1")
    cache.put(one, "c:1")
    cache.put(two, "c:1")
    cache.put(one, "c:2")
    cache.put(three, "c:1")
    assert cache.get(two) is None
    entry = cache.get(one)
    assert entry is not None
    assert list(entry.clients) == ["c:1", "c:2"]
    for number in range(KNOWN_CLIENTS):
        cache.put(one, f"c:x{number}")
    assert "c:1" not in cache.get(one).clients
    now = CACHE_SECONDS * 1000 + 1
    assert cache.get(one) is None


def test_throttle_keys() -> None:
    assert client_key("192.0.2.1") == client_key("::ffff:192.0.2.1") != client_key("192.0.2.2")
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff") != client_key("2001:db8:0:1::1")
    assert client_key("") is None


@pytest.mark.parametrize("written", ["Alice@example.test", '"alice"@example.test', '"al\\ice"@EXAMPLE.test.'])
def test_a_login_has_one_throttle_however_it_is_written(written: str) -> None:
    assert login_key(written) == login_key("alice@example.test") == "l:alice@example.test"


@pytest.mark.parametrize("text", ["Hunter2!", "correct horse", "", "p@ss w0rd", "alice"])
def test_what_is_no_address_is_kept_nowhere(text: str) -> None:
    assert login_key(text) is None


def test_space_is_judged_by_the_free_part() -> None:
    space = Space(None, 5.0)
    space.learn({"totalSize": 10, "fsTotalSize": 100, "fsUsedSize": 94})
    assert not space.full
    space.learn({"totalSize": 10, "fsTotalSize": 100, "fsUsedSize": 96})
    assert space.full
    space.learn({"totalSize": 10})
    assert space.full
    space.learn({"totalSize": 10, "fsTotalSize": 100, "fsUsedSize": 50})
    assert not space.full


async def test_a_failing_job_disturbs_no_other() -> None:
    runs: list[str] = []
    done = asyncio.Event()

    async def good(now: int) -> bool:
        runs.append("good")
        if runs.count("good") == 3:
            done.set()
        return runs.count("good") < 3  # more is waiting: again at once

    async def bad(now: int) -> bool:
        runs.append("bad")
        raise ZeroDivisionError

    async def away(now: int) -> bool:
        runs.append("away")
        raise AutoReconnect("no primary")

    supervisor = Supervisor([Job("good", 600, good), Job("bad", 600, bad), Job("away", 600, away)], lambda: 0)
    work = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(done.wait(), 5)
    supervisor.stop()
    await asyncio.wait_for(work, 5)
    assert (runs.count("good"), runs.count("bad"), runs.count("away")) == (3, 1, 1)


def test_a_failing_job_slows_down() -> None:
    job = Job("x", 1.0, None)
    supervisor = Supervisor([], lambda: 0)
    waits = [supervisor._wait(job, failures) for failures in (0, 1, 3, 20)]
    assert 0.8 <= waits[0] <= 1.2
    assert 0.8 <= waits[1] <= 1.2
    assert 3.2 <= waits[2] <= 4.8
    assert waits[3] <= 60.0
