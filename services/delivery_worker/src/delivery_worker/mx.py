"""Where mail for a domain goes: its mail exchangers in the order to be tried, with their addresses.

RFC 5321 5.1 (MX, the fallback to A and AAAA, loops), RFC 7505 (null MX), RFC 5321 4.1.3 (address literals).

Rules:
- Equal preference: random order. Of one host IPv6 and IPv4 addresses alternate, IPv6 first (RFC 8305 4), so that a
  family without a way out costs one failed try and not all of them.
- An answer is taken to `MAX_HOSTS` hosts, `MAX_ADDRESSES` addresses each.
- Our own name among the exchangers drops it and all that aren't better: mail would come back to us (5.4.6).
- Only global addresses are delivered to, unless the operator lists a network: DNS of strangers must not make us
  connect to hosts inside our network. That an address is inside IPv6 (mapped, 6to4, NAT64) doesn't hide it. What an
  operator names as smarthost isn't asked for that.
- No such domain, no mail host and null MX are final; that DNS can't be asked is not.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass

from mailboat_common.config import Network
from mailboat_store_client.queue import Outcome

from .lookup import Answer, Lookup, LookupFailed

MAX_HOSTS = 20
MAX_ADDRESSES = 6

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class NoRoute(Exception):
    """There is nowhere to deliver to: what to report for every recipient."""

    def __init__(self, outcome: Outcome, status: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class MailHost:
    """One exchanger as DNS names it; `preference` 0 for an implicit one. An address literal is its own name."""

    name: str
    preference: int = 0


class Exchangers:
    """Finds mail hosts. `own_name` is what we call ourselves, `allowed` networks that need not be global."""

    def __init__(
        self,
        lookup: Lookup,
        own_name: str,
        allowed: Sequence[Network] = (),
        rng: random.Random | None = None,
    ) -> None:
        self._lookup = lookup
        self._own_name = own_name.lower().rstrip(".")
        self._allowed = tuple(allowed)
        self._random = rng or random.SystemRandom()

    async def hosts(self, domain: str) -> list[MailHost]:
        """The domain's mail hosts in the order to be tried. Raises NoRoute."""
        if domain.startswith("["):
            return [MailHost(domain)]
        try:
            answer = await self._lookup.ask(domain, "MX")
        except LookupFailed as failed:
            raise NoRoute(Outcome.DEFERRED, "4.4.3", failed.reason) from None
        if not answer.exists:
            raise NoRoute(Outcome.FAILED, "5.1.2", f"the domain {domain} doesn't exist")
        if not answer.records:
            return [MailHost(domain)]
        hosts = [MailHost(n.lower(), p) for n, p in zip(answer.records, answer.preferences, strict=True) if n]
        if not hosts:
            raise NoRoute(Outcome.FAILED, "5.1.10", f"the domain {domain} doesn't accept mail")
        return self._in_order(domain, hosts)

    def _in_order(self, domain: str, hosts: list[MailHost]) -> list[MailHost]:
        self._random.shuffle(hosts)
        hosts.sort(key=lambda host: host.preference)
        own = [host.preference for host in hosts if host.name == self._own_name]
        if own:
            hosts = [host for host in hosts if host.preference < own[0]]
            if not hosts:
                raise NoRoute(
                    Outcome.FAILED,
                    "5.4.6",
                    f"mail for {domain} comes back to us: {self._own_name} is its best mail host",
                )
        return hosts[:MAX_HOSTS]

    async def addresses(self, host: str, *, trusted: bool = False) -> list[str]:
        """The host's addresses in the order to be tried. Raises NoRoute, also if none of them may be connected to.

        `trusted`: the operator named the host.
        """
        if host.startswith("["):
            found = [_literal(host)]
        elif (address := _parse(host)) is not None:
            if not trusted:
                raise NoRoute(Outcome.FAILED, "5.4.4", f"{host} is an address where a host name should be")
            found = [address]
        else:
            found = await self._ask(host)
        usable = [address for address in found if trusted or self.may_connect(address)]
        if not usable:
            raise NoRoute(Outcome.FAILED, "5.4.4", f"{host} has only addresses that aren't public")
        return [str(address) for address in usable]

    async def _ask(self, host: str) -> list[Address]:
        families: list[list[Address]] = []
        failed: LookupFailed | None = None
        exists = False
        for kind in ("AAAA", "A"):
            try:
                answer: Answer = await self._lookup.ask(host, kind)
            except LookupFailed as error:
                failed = error
                continue
            exists = exists or answer.exists
            parsed = [address for text in answer.records if (address := _parse(text)) is not None]
            self._random.shuffle(parsed)
            families.append(parsed)
        mixed = _alternating(families)
        if mixed:
            return mixed[:MAX_ADDRESSES]
        if failed is not None:
            raise NoRoute(Outcome.DEFERRED, "4.4.3", failed.reason)
        raise NoRoute(Outcome.FAILED, "5.4.4", f"{host} has no address" if exists else f"{host} doesn't exist")

    def may_connect(self, address: Address) -> bool:
        """Whether DNS of strangers may send us to this address."""
        if any(address in network for network in self._allowed):
            return True
        inner = _embedded(address)
        if inner is not None and not self.may_connect(inner):
            return False
        return address.is_global and not address.is_multicast


def _embedded(address: Address) -> Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _parse(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _literal(domain: str) -> Address:
    inner = domain.strip("[]")
    address = _parse(inner[5:] if inner[:5].lower() == "ipv6:" else inner)
    if address is None:
        raise NoRoute(Outcome.FAILED, "5.1.2", f"{domain} is no address literal")
    return address


def _alternating(families: Sequence[Sequence[Address]]) -> list[Address]:
    longest = max((len(family) for family in families), default=0)
    return [family[place] for place in range(longest) for family in families if place < len(family)]
