"""Password hashes: ours (argon2id, t=2, m=19 MiB, p=1) and those that operators bring along.

Imported and verified as they are: `$argon2id$…`, `{BCRYPT}$2b$…`, `{SHA512-CRYPT}$6$…` (also without the scheme in
braces); a login replaces them by ours. Their cost is bounded at import, so that nobody imports a way to stall us.

All hashing runs in a pool of as many threads as there are cores (argon2 and bcrypt release the interpreter lock), and
what waits for it is bounded: better a quick "try again" than a queue of minutes.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
import bcrypt
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from passlib.hash import sha512_crypt  # type: ignore[import-untyped]  # libpass ships no types

T = TypeVar("T")

MIN_CHARACTERS = 8
MAX_BYTES = 1024
WAITING_PER_THREAD = 400  # about eight seconds of work

_OURS = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)
_ARGON2ID = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{22,172}")
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_SHA512_CRYPT = re.compile(r"\$6\$(?:rounds=(\d+)\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}")
_SCHEME = re.compile(r"\{([A-Z0-9-]+)\}")


def check_policy(password: str) -> None:
    """Refused INVALID for a password that is too short, too long, or can't be typed."""
    if len(password) < MIN_CHARACTERS:
        raise Refused(RefusedCode.INVALID, f"A password has at least {MIN_CHARACTERS} characters")
    if len(password.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Refused(RefusedCode.INVALID, f"A password has at most {MAX_BYTES} bytes")
    if any(c < " " or "\ud800" <= c <= "\udfff" for c in password):
        raise Refused(RefusedCode.INVALID, "A password can't hold control characters")


def check_imported(text: str) -> str:
    """The stored form of an imported hash. Refused INVALID for an unknown scheme or an excessive cost."""
    scheme, body = "", text.strip()
    if match := _SCHEME.match(body):
        scheme, body = match[1], body[match.end() :]
    if (match := _ARGON2ID.fullmatch(body)) and scheme in ("", "ARGON2ID"):
        memory, rounds, lanes = map(int, match.groups())
        if memory <= 256 * 1024 and rounds <= 10 and 1 <= lanes <= 8:
            return body
    elif (match := _BCRYPT.fullmatch(body)) and scheme in ("", "BCRYPT", "BLF-CRYPT"):
        if 4 <= int(match[1]) <= 14:
            return "{BCRYPT}" + body
    elif (match := _SHA512_CRYPT.fullmatch(body)) and scheme in ("", "SHA512-CRYPT"):
        if int(match[1] or 5000) <= 1_000_000:
            return "{SHA512-CRYPT}" + body
    else:
        raise Refused(RefusedCode.INVALID, "Not an argon2id, bcrypt or SHA512-CRYPT hash")
    raise Refused(RefusedCode.INVALID, "The hash's cost is out of bounds")


def verify_now(stored: str, password: str) -> bool:
    """Whether `password` belongs to a stored hash. Takes about 20 ms of CPU for ours."""
    secret = password.encode("utf-8", "surrogatepass")
    if b"\0" in secret or len(secret) > MAX_BYTES:
        return False
    if stored.startswith("{BCRYPT}"):
        digest = stored.removeprefix("{BCRYPT}").encode()
        return hmac.compare_digest(bcrypt.hashpw(secret[:72], digest), digest)  # bcrypt never saw more than 72 bytes
    if stored.startswith("{SHA512-CRYPT}"):
        return bool(sha512_crypt.verify(secret, stored.removeprefix("{SHA512-CRYPT}")))
    try:
        return _OURS.verify(stored, secret)
    except argon2.exceptions.VerifyMismatchError:
        return False


def hash_now(password: str) -> str:
    """A new hash of ours. Takes about 20 ms of CPU."""
    return _OURS.hash(password.encode("utf-8"))


def is_ours(stored: str) -> bool:
    """Whether a hash has our scheme and cost; any other is replaced at login."""
    return stored.startswith("$argon2id$") and not _OURS.check_needs_rehash(stored)


class PasswordPool:
    """Hashes and verifies outside the event loop."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="password")
        self._waiting = 0
        self._nobody = hash_now("the password nobody has")

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether `password` belongs to `stored`; None (nobody's hash) takes as long and says no."""
        fits = await self._run(lambda: verify_now(stored or self._nobody, password))
        return fits and stored is not None

    async def hash(self, password: str) -> str:
        """A new hash of ours."""
        return await self._run(lambda: hash_now(password))

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._threads * WAITING_PER_THREAD:
            raise Unavailable("too many passwords wait to be checked", retry_after=5.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
