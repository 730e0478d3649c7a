"""MTA-STS: what a domain promises about the TLS of its mail hosts.

RFC 8461: the TXT record (3.1), the policy (3.2), its fetch over HTTPS (3.3), use and caching (5).

Rules: a policy is fetched when the record's id isn't the cached policy's; it counts until its max_age is over, even if
the record or the web server is gone meanwhile (5.1). A fetch that failed isn't repeated for `RETRY_SECONDS`, and mail
goes as without a policy or by the one known. The certificate must be valid for `mta-sts.<domain>`, redirects are
refused, the answer is bounded in size and time and never decompressed; the web server must be on a public address, as a
mail host must. Policies are kept in memory, so a restarted process learns them anew.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import re
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from mailboat_common.log import get_logger

from . import metrics
from .lookup import Lookup, LookupFailed
from .mx import Exchangers, NoRoute

log = get_logger(__name__)

MAX_SIZE = 65_536
FETCH_SECONDS = 20.0
RETRY_SECONDS = 300.0
MAX_AGE = 31_557_600  # RFC 8461 3.2
MAX_HOSTS = 100
CACHE_SIZE = 20_000
FETCHES_AT_ONCE = 20

_RECORD = re.compile(r"v=STSv1\s*;(.*)", re.DOTALL)
_ID = re.compile(r"(?:\A|;)\s*id\s*=\s*([A-Za-z0-9]{1,32})\s*(?=;|\Z)")
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")


class Mode(enum.Enum):
    """What the domain asks for."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy; `max_age` in seconds, `hosts` patterns in lower case."""

    mode: Mode
    max_age: int
    hosts: tuple[str, ...] = ()

    def names(self, host: str) -> bool:
        """Whether the host is among the patterns; `*.` stands for exactly one label (4.1)."""
        host = host.lower()
        return host in self.hosts or f"*.{host.partition('.')[2]}" in self.hosts


class PolicyError(ValueError):
    """What was fetched is no policy."""


def parse_policy(body: bytes) -> Policy:
    """Read the policy file. Raises PolicyError. Unknown fields are passed over, the first of a name counts (3.2)."""
    try:
        lines = body.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise PolicyError("not UTF-8") from None
    fields: dict[str, str] = {}
    hosts: list[str] = []
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon:
            if line.strip():
                raise PolicyError("a line without a colon")
        elif name == "mx":
            hosts.append(value.lower())
        else:
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise PolicyError("not version STSv1")
    try:
        mode = Mode(fields.get("mode", ""))
    except ValueError:
        raise PolicyError("no known mode") from None
    age = fields.get("max_age", "")
    if not (age.isascii() and age.isdecimal()) or len(age) > 10:
        raise PolicyError("no max_age")
    if len(hosts) > MAX_HOSTS or not all(_PATTERN.fullmatch(host) for host in hosts):
        raise PolicyError("a bad mx pattern")
    if mode is not Mode.NONE and not hosts:
        raise PolicyError("no mx pattern")
    return Policy(mode, min(int(age), MAX_AGE), tuple(hosts))


def parse_record(texts: tuple[str, ...]) -> str | None:
    """The id of the domain's record; None if there is none, or several (3.1)."""
    found = [match[1] for text in texts if (match := _RECORD.match(text)) is not None]
    if len(found) != 1:
        return None
    match = _ID.search(found[0])
    return match[1] if match is not None else None


class Fetch(Protocol):
    """Gets a policy file."""

    async def __call__(self, domain: str) -> bytes:
        """The body. Raises PolicyError, OSError, TimeoutError or aiohttp.ClientError."""


@dataclass(slots=True)
class _Known:
    """What is known of a domain. `policy` None: none could be had. `fetched`: the id it was tried for."""

    fetched: str
    policy: Policy | None
    until: float
    retry_at: float


class Policies:
    """The policies of domains, fetched as needed."""

    def __init__(self, lookup: Lookup, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup = lookup
        self._fetch = fetch
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def of(self, domain: str) -> Policy | None:
        """The domain's policy in force; None without one."""
        try:
            current = parse_record((await self._lookup.ask(f"_mta-sts.{domain}", "TXT")).records)
        except LookupFailed:
            current = None
        known = self._known.get(domain)
        now = self._clock()
        if current is not None and (known is None or self._is_due(known, current, now)):
            await self._fetch_once(domain, current)
            known = self._known.get(domain)
        if known is None or known.policy is None or known.until <= now:
            return None
        self._known.move_to_end(domain)
        return known.policy if known.policy.mode is not Mode.NONE else None

    @staticmethod
    def _is_due(known: _Known, current: str, now: float) -> bool:
        return now >= known.retry_at and (known.fetched != current or known.policy is None or known.until <= now)

    async def _fetch_once(self, domain: str, current: str) -> None:
        task = self._fetching.get(domain)
        if task is None:
            task = self._fetching[domain] = asyncio.create_task(self._update(domain, current), name="mta-sts")
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        await asyncio.shield(task)

    async def _update(self, domain: str, current: str) -> None:
        known = self._known.get(domain)
        try:
            async with self._turns, asyncio.timeout(FETCH_SECONDS):
                policy = parse_policy(await self._fetch(domain))
        except (PolicyError, OSError, TimeoutError, aiohttp.ClientError) as error:
            metrics.policies.labels("failed").inc()
            log.warning("MTA-STS policy not fetched", domain=domain, cause=repr(error))
            retry_at = self._clock() + RETRY_SECONDS
            if known is not None:
                known.retry_at = retry_at
            else:
                self._keep(domain, _Known("", None, 0.0, retry_at))
            return
        metrics.policies.labels("fetched").inc()
        log.info("MTA-STS policy fetched", domain=domain, mode=policy.mode.value, max_age=policy.max_age)
        now = self._clock()
        self._keep(domain, _Known(current, policy, now + policy.max_age, now))

    def _keep(self, domain: str, known: _Known) -> None:
        self._known[domain] = known
        self._known.move_to_end(domain)
        while len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)


class HttpsFetch:
    """Fetches from `https://mta-sts.<domain>/.well-known/mta-sts.txt`. `port` is 443 but in tests."""

    def __init__(self, exchangers: Exchangers, context: ssl.SSLContext, *, port: int = 443) -> None:
        self._resolver = _Resolver(exchangers)
        self._context = context
        self._port = port

    async def __call__(self, domain: str) -> bytes:
        """As Fetch says."""
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, ssl=self._context, use_dns_cache=False, force_close=True
        )
        url = f"https://mta-sts.{domain}:{self._port}/.well-known/mta-sts.txt"
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                trust_env=False,
                auto_decompress=False,
                headers={"accept-encoding": "identity"},
            ) as client,
            client.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise PolicyError(f"HTTP status {answer.status}")
            if answer.content_type != "text/plain":
                raise PolicyError("not text/plain")
            if answer.headers.get("content-encoding", "identity").lower() != "identity":
                raise PolicyError("compressed")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(8192):
                body += chunk
                if len(body) > MAX_SIZE:
                    raise PolicyError("too long")
            return bytes(body)


class _Resolver(AbstractResolver):
    """The HTTP client's names, by our DNS and with its rule about addresses."""

    def __init__(self, exchangers: Exchangers) -> None:
        self._exchangers = exchangers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            addresses = await self._exchangers.addresses(host)
        except NoRoute as nothing:
            raise OSError(errno.EHOSTUNREACH, nothing.reason) from None
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
