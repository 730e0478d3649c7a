"""Which of the storage service's addresses gets a call.

- A name is resolved to all its addresses, again about every 30 s and when one of them fails (`channel.py`, at most
  once a second); `http://a:1,http://b:1` names several. A name that doesn't resolve, or not in time, keeps what it had:
  a headless Service without a ready process has no address at all.
- A read goes to the less busy of two random addresses.
- An account's writes, and a login's authentications, go to the address that rendezvous hashing gives them: when an
  address comes or goes only its own share moves. Affinity makes conflicts rare; correctness never depends on it.
- An address that refused or broke a connection is passed over for a moment while there are others.

Of a name with IPv4 and IPv6 addresses only one family is used (IPv4 if it has any): both lead to the same processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from mailboat_common.log import get_logger

log = get_logger(__name__)

RESOLVE_SECONDS = 30.0
LOOKUP_SECONDS = 2.0
FIRST_PENALTY = 0.25
LONGEST_PENALTY = 5.0

Lookup = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of MB_STORAGE_URL."""

    scheme: str
    host: str
    port: int


class Address:
    """One process of the storage service, as far as this client can tell. `url` has no path: `http://10.0.0.7:8081`."""

    __slots__ = ("_penalty", "down_until", "in_flight", "seed", "told_at", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.seed = url.encode()
        self.in_flight = 0
        self.down_until = 0.0
        self.told_at = float("-inf")
        self._penalty = 0.0

    def failed(self, now: float) -> None:
        """It refused, broke or timed out: leave it alone for a while that doubles with each failure."""
        self._penalty = min(max(FIRST_PENALTY, self._penalty * 2), LONGEST_PENALTY)
        self.down_until = now + self._penalty

    def answered(self) -> None:
        """It works."""
        self._penalty = 0.0
        self.down_until = 0.0

    def score(self, key: bytes) -> bytes:
        """Its rendezvous weight for `key`; the highest wins."""
        return hashlib.blake2b(key, digest_size=8, key=self.seed[:64]).digest()


def parse_url(url: str) -> Target:
    """One entry of MB_STORAGE_URL. Raises ValueError for anything but http(s)://host[:port]."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} isn't an address like http://storage-api:8081")
    return Target(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


async def lookup(host: str, port: int) -> list[str]:
    """All addresses of a name, of one family, as they are written in a URL. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    v4 = {str(address[0]) for family, _, _, _, address in found if family == socket.AF_INET}
    v6 = {f"[{address[0]}]" for family, _, _, _, address in found if family == socket.AF_INET6}
    return sorted(v4 or v6)


class Balancer:
    """The addresses known now, and the choice among them."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        lookup: Lookup = lookup,
        clock: Callable[[], float] = time.monotonic,
        choose: Callable[[Sequence[Address]], Address] = random.choice,
    ) -> None:
        self._targets = [parse_url(url) for url in urls]
        self._lookup = lookup
        self._clock = clock
        self._choose = choose
        self._hosts: dict[Target, list[str]] = {}
        self._addresses: dict[str, Address] = {}
        self._looking: dict[Target, asyncio.Future[list[str]]] = {}
        self._unresolved: set[Target] = set()

    @property
    def addresses(self) -> list[Address]:
        """All addresses known now."""
        return list(self._addresses.values())

    async def refresh(self) -> bool:
        """Resolves all names again; whether the addresses changed.

        Waits up to `LOOKUP_SECONDS`. A lookup that takes longer is not begun again but goes on; its answer counts in
        a later call, and until then its name keeps its addresses.
        """
        for target in self._targets:
            if target not in self._looking:
                self._looking[target] = asyncio.ensure_future(self._lookup(target.host, target.port))
        await asyncio.wait(self._looking.values(), timeout=LOOKUP_SECONDS)
        for target in [target for target, task in self._looking.items() if task.done()]:
            self._learn(target, self._looking.pop(target))
        before, self._addresses = self._addresses, {}
        for target, hosts in self._hosts.items():
            for host in hosts:
                url = f"{target.scheme}://{host}:{target.port}"
                self._addresses[url] = before.get(url) or Address(url)
        return self._addresses.keys() != before.keys()

    def _learn(self, target: Target, answer: asyncio.Future[list[str]]) -> None:
        try:
            hosts = answer.result()
        except OSError as error:
            if target not in self._unresolved:  # asked again every second, told once
                log.warning("storage name doesn't resolve", name=target.host, cause=str(error))
            self._unresolved.add(target)
            return
        if target in self._unresolved:
            log.info("storage name resolves", name=target.host, addresses=hosts)
        self._unresolved.discard(target)
        self._hosts[target] = hosts

    async def close(self) -> None:
        """Ends lookups that still run."""
        for task in self._looking.values():
            task.cancel()
        await asyncio.gather(*self._looking.values(), return_exceptions=True)
        self._looking.clear()

    def failed(self, address: Address) -> None:
        """`address` refused, broke or timed out."""
        address.failed(self._clock())

    def for_read(self, tried: Sequence[Address] = ()) -> Address | None:
        """Any address, rather a less busy one, none of `tried`. None: all were tried."""
        candidates = self._candidates(tried)
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        one, other = self._choose(candidates), self._choose(candidates)
        return one if one.in_flight <= other.in_flight else other

    def for_key(self, key: bytes, tried: Sequence[Address] = ()) -> Address | None:
        """The address `key` belongs to, or the next in its order that is up and none of `tried`."""
        candidates = self._candidates(tried)
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        return max(candidates, key=lambda address: address.score(key))

    def _candidates(self, tried: Sequence[Address]) -> list[Address]:
        now = self._clock()
        untried = [address for address in self._addresses.values() if address not in tried]
        return [address for address in untried if address.down_until <= now] or untried
