"""DNS: what the delivery worker asks, with a bounded cache.

RFC 1034 and 1035; RFC 2308 (negative answers). The work is dnspython's asynchronous resolver; aliases (CNAME) are
followed by it, within its bound.

Rules: names are absolute, no search list is applied. "There is no such name" and "the name has no such record" are
answers; that no server could be asked is `LookupFailed`, for which mail waits. Answers are kept for their TTL, within
`MIN_TTL` and `MAX_TTL`, failures for `FAILURE_TTL`; at most `CACHE_SIZE` of them. Concurrent questions for the same
records are asked once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

CACHE_SIZE = 20_000
MIN_TTL = 5.0
MAX_TTL = 3600.0
NEGATIVE_TTL = 300.0  # at most
MISSING_TTL = 60.0  # the resolver before us keeps to the zone's own
FAILURE_TTL = 5.0
LIFETIME = 20.0  # seconds for a question, over all servers and repeats
TIMEOUT = 4.0  # seconds for one server's answer
MAX_RECORDS = 100  # of one answer


class LookupFailed(Exception):
    """No server gave an answer that counts. `reason` is ours and may be told to the sender."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type, at most 100. `exists` is False if there is no such name (NXDOMAIN).

    A record is a host name or address for A, AAAA and (with `preferences` beside it) MX, the text for TXT; names
    without the final dot, "" for the root.
    """

    records: tuple[str, ...] = ()
    preferences: tuple[int, ...] = ()
    exists: bool = True


class Lookup(Protocol):
    """Where routes come from."""

    async def ask(self, name: str, kind: str) -> Answer:
        """The records of type `kind` ("A", "AAAA", "MX", "TXT"). Raises LookupFailed."""


class DnsLookup:
    """Asks real servers."""

    def __init__(self, resolver: dns.asyncresolver.Resolver, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._clock = clock
        self._cache: OrderedDict[tuple[str, str], tuple[float, Answer | LookupFailed]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Answer]] = {}

    async def ask(self, name: str, kind: str) -> Answer:
        """As Lookup says."""
        key = (name.lower(), kind)
        cached = self._cache.get(key)
        if cached is not None and cached[0] > self._clock():
            self._cache.move_to_end(key)
            if isinstance(cached[1], LookupFailed):
                raise LookupFailed(cached[1].reason)
            return cached[1]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.create_task(self._ask(*key), name="dns")
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: tuple[str, str], task: asyncio.Task[Answer]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # whoever asked has it; nobody may be left to

    async def _ask(self, name: str, kind: str) -> Answer:
        result: Answer | LookupFailed
        try:
            result, ttl = await self._resolve(name, kind)
        except LookupFailed as failed:
            result, ttl = failed, FAILURE_TTL
        self._cache[name, kind] = (self._clock() + ttl, result)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        if isinstance(result, LookupFailed):
            raise result
        return result

    async def _resolve(self, name: str, kind: str) -> tuple[Answer, float]:
        try:
            asked = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return Answer(exists=False), NEGATIVE_TTL  # no name that DNS could hold
        try:
            found = await self._resolver.resolve(asked, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return Answer(exists=False), MISSING_TTL
        except dns.exception.Timeout:
            raise LookupFailed(f"no name server answered for {name}") from None
        except (dns.exception.DNSException, OSError):
            raise LookupFailed(f"the name servers of {name} fail") from None
        if found.rrset is None:
            return Answer(), _bounded(found.chaining_result.minimum_ttl, NEGATIVE_TTL)
        return _answer(list(found.rrset)[:MAX_RECORDS]), _bounded(found.chaining_result.minimum_ttl, MAX_TTL)


def _answer(records: Sequence[object]) -> Answer:
    texts: list[str] = []
    preferences: list[int] = []
    for record in records:
        if (exchange := getattr(record, "exchange", None)) is not None:
            texts.append(exchange.to_text(omit_final_dot=True) if len(exchange) > 1 else "")
            preferences.append(int(getattr(record, "preference", 0)))
        elif (strings := getattr(record, "strings", None)) is not None:
            texts.append(b"".join(strings).decode("utf-8", "replace"))
        else:
            texts.append(str(getattr(record, "address", "")))
    return Answer(tuple(texts), tuple(preferences))


def _bounded(ttl: float, most: float) -> float:
    return min(max(float(ttl), MIN_TTL), most)


def make_resolver(servers: Sequence[str]) -> dns.asyncresolver.Resolver:
    """A resolver for `servers` (host or host:port, IPv6 in brackets if with a port); none: the system's.

    Raises ValueError for a server whose own name can't be found.
    """
    if not servers:
        try:
            resolver = dns.asyncresolver.Resolver()
        except dns.resolver.NoResolverConfiguration:
            raise ValueError("the system has no resolver (/etc/resolv.conf), name one") from None
    else:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [_server(text) for text in servers]
    resolver.lifetime = LIFETIME
    resolver.timeout = TIMEOUT
    return resolver


def _server(text: str) -> dns.nameserver.Nameserver:
    host, port = text, 53
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = int(rest[1:]) if rest else 53
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
        port = int(number)
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        try:
            address = str(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4][0])
        except OSError:
            raise ValueError(f"the name server {host} can't be found") from None
    return dns.nameserver.Do53Nameserver(address, port)
