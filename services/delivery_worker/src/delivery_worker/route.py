"""From a claimed document to servers: a transport's smarthost, or the domain's mail hosts under its MTA-STS policy.

RFC 5321 5.1, RFC 8461 5 (what a policy does to the list of hosts), RFC 8314.

Rules: a policy concerns MX delivery only, and not where the operator says TlsMode.NONE. Under `enforce` hosts it
doesn't name are passed over and the others must have valid certificates; a domain without any host left waits (4.7.5).
Under `testing` mail goes as without it, and hosts that aren't named are logged.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mailboat_common.log import get_logger
from mailboat_store_client.queue import Claimed, Outcome, TlsMode, Transport

from .mta_sts import Mode, Policies, Policy
from .mx import Exchangers, MailHost, NoRoute
from .smtp_session import Endpoint

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """Hosts in the order to be tried, and on which terms. `hop` names them for what concerns all their mail."""

    hosts: tuple[MailHost, ...]
    transport: Transport
    tls: TlsMode
    trusted: bool
    hop: str


class Router:
    """Finds routes. `port`: that of mail hosts found by MX, 25 but in tests."""

    def __init__(self, exchangers: Exchangers, policies: Policies, *, port: int = 25) -> None:
        self._exchangers = exchangers
        self._policies = policies
        self._port = port

    async def route(self, claimed: Claimed) -> Route:
        """Raises NoRoute."""
        transport = claimed.transport
        if transport.host:
            hop = f"{transport.host.lower()}:{transport.port}"
            return Route((MailHost(transport.host.lower()),), transport, transport.tls, True, hop)
        hosts = await self._exchangers.hosts(claimed.domain)
        tls = transport.tls
        if tls is not TlsMode.NONE and not claimed.domain.startswith("["):
            policy = await self._policies.of(claimed.domain)
            if policy is not None:
                hosts, tls = _under(policy, claimed, hosts, tls)
        best = sorted(host.name for host in hosts if host.preference == hosts[0].preference)
        return Route(tuple(hosts), transport, tls, False, ",".join(best)[:500])

    async def endpoints(self, route: Route) -> AsyncIterator[list[Endpoint] | NoRoute]:
        """The servers of each preference, one list a preference; NoRoute for a host that has none."""
        for _, hosts in itertools.groupby(route.hosts, key=lambda host: host.preference):
            found: list[Endpoint] = []
            for host in hosts:
                try:
                    addresses = await self._exchangers.addresses(host.name, trusted=route.trusted)
                except NoRoute as nothing:
                    yield nothing
                    continue
                found += [self._endpoint(route, host.name, address) for address in addresses]
            if found:
                yield found

    def _endpoint(self, route: Route, name: str, address: str) -> Endpoint:
        transport = route.transport
        port = transport.port if route.trusted else self._port
        return Endpoint(name.strip("[]"), address, port, route.tls, transport.username, transport.password)


def _under(policy: Policy, claimed: Claimed, hosts: list[MailHost], tls: TlsMode) -> tuple[list[MailHost], TlsMode]:
    named = [host for host in hosts if policy.names(host.name)]
    if policy.mode is Mode.ENFORCE:
        if not named:
            reason = f"no mail host of {claimed.domain} is named by its MTA-STS policy"
            raise NoRoute(Outcome.DEFERRED, "4.7.5", reason)
        return named, tls if tls is TlsMode.IMPLICIT else TlsMode.VERIFY
    if policy.mode is Mode.TESTING and len(named) < len(hosts):
        other = [host.name for host in hosts if host not in named]
        log.warning("mail hosts that an MTA-STS policy in testing doesn't name", domain=claimed.domain, hosts=other)
    return hosts, tls
