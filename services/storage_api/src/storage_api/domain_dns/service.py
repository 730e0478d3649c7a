"""A domain's DNS for operators and the worker: what to publish, the check, keys put to use when they are seen."""

from __future__ import annotations

import dns.asyncresolver
from mailboat_common.log import get_logger

from ..directory.dkim import DkimKeys, KeyState
from .ask import Asker, NoAnswer
from .check import Check, Finding, are_published
from .records import Publication, publication

log = get_logger(__name__)

SWEEP_LIMIT = 50


class DomainDns:
    """`hostname` is the platform's name on the internet, to which MX and SRV records lead."""

    def __init__(self, keys: DkimKeys, resolver: dns.asyncresolver.Resolver, hostname: str) -> None:
        self.keys = keys
        self._resolver = resolver
        self._hostname = hostname
        self._after = ""

    async def publication(self, name: str) -> Publication:
        """What to publish for a domain. Refused NOT_FOUND."""
        keys = await self.keys.of(name)
        return publication(keys[0].domain, self._hostname, keys)

    async def check(self, name: str) -> list[Finding]:
        """What DNS has, compared with that. Changes nothing. Refused NOT_FOUND."""
        keys = await self.keys.of(name)
        published = publication(keys[0].domain, self._hostname, keys)
        return await Check(published, keys, Asker(self._resolver)).run()

    async def sweep(self, now: int) -> bool:
        """For the worker: activates pending keys that DNS has, up to 50 domains at a time; removes what is retired."""
        domains = await self.keys.pending_domains(self._after, SWEEP_LIMIT)
        for domain in domains:
            await self._activate_if_published(domain)
        self._after = domains[-1] if len(domains) == SWEEP_LIMIT else ""
        return await self.keys.retire(now) or bool(self._after)

    async def _activate_if_published(self, domain: str) -> None:
        keys = await self.keys.of(domain)
        pending = [key for key in keys if key.state is KeyState.PENDING]
        try:
            if pending and await are_published(Asker(self._resolver), pending):
                await self.keys.activate(domain)
        except NoAnswer as error:
            log.info("DKIM keys stay pending", domain=domain, cause=str(error))
