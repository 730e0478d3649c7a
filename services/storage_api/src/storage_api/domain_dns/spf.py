"""SPF records as a receiver would read them (RFC 7208): is an address permitted, and what is wrong with the record.

The whole tree of includes is walked, whatever matches on the way, because a receiver stops elsewhere for another
address: so the lookups that are counted are the most that any mail costs (4.6.4: 10). Macros (7), `exists` and `ptr`
depend on the message; they are counted and match nothing here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from .ask import Asker

MAX_LOOKUPS = 10
MAX_VOID = 2
_WALK_LIMIT = 40  # how far a record over the limit is followed, to say by how much it is
_TERM = re.compile(r"([-+~?]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::(.*?))?((?:/\d+)?(?://\d+)?)", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9._-]*)=(.*)", re.IGNORECASE)
_RESULTS = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_GIVEN_UP = "receivers give the record up (permerror)"

Results = dict[str, str]
"""From an address to "pass", "fail", "softfail" or "neutral"."""


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record (RFC 7208 4.5)."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


class Walk:
    """What a domain's record comes to for some addresses.

    `errors` are texts for a person. `unknown`: a macro, exists or ptr might match. `passes_all`: it ends in +all.
    """

    def __init__(self, asker: Asker, addresses: Sequence[str]) -> None:
        self._asker = asker
        self._addresses = {*addresses}
        self._path: list[str] = []
        self.results: Results = {}
        self.lookups = 0
        self.void = 0
        self.errors: list[str] = []
        self.unknown = False
        self.passes_all = False

    async def run(self, domain: str, record: str) -> None:
        """Walks a record. Raises NoAnswer."""
        self.results = await self._record(domain, record)
        for address in self._addresses:
            self.results.setdefault(address, "neutral")

    async def _record(self, domain: str, record: str) -> Results:
        results: Results = {}
        redirect = ""
        self._path.append(domain.lower())
        for term in record.split()[1:]:
            match, modifier = _TERM.fullmatch(term), _MODIFIER.fullmatch(term)
            if match is not None:
                matched = await self._matches(domain, match)
                results = dict.fromkeys(matched, _RESULTS[match[1]]) | results
                if match[2].lower() == "all":
                    self.passes_all |= match[1] in {"", "+"} and len(self._path) == 1
                    break
            elif modifier is not None:
                redirect = modifier[2] if modifier[1].lower() == "redirect" else redirect
            else:
                self.errors.append(f'the term "{term}" of {domain} isn\'t known: {_GIVEN_UP}')
        else:
            if redirect:
                results = await self._follow(redirect) | results
        self._path.pop()
        return results

    async def _matches(self, domain: str, term: re.Match[str]) -> set[str]:
        """The addresses that a mechanism matches."""
        name, value, prefix = term[2].lower(), term[3] or "", term[4]
        if name == "all":
            return self._addresses
        if name in {"ip4", "ip6"}:
            return self._within(value + prefix, domain)
        if name == "include":
            return {address for address, result in (await self._follow(value)).items() if result == "pass"}
        self.lookups += 1
        target = value or domain
        if name in {"ptr", "exists"} or "%" in target:
            self.unknown = True
            return set()
        hosts = [target] if name == "a" else [host for _, host in await self._asker.mx(target) if host]
        found = [address for host in hosts[:MAX_LOOKUPS] for address in await self._asker.addresses(host)]
        self.void += not found
        v4, _, v6 = prefix.partition("//")
        bits = {True: v6 or "128", False: v4.removeprefix("/") or "32"}
        networks = [self._within(f"{address}/{bits[':' in address]}", domain) for address in found]
        return set().union(*networks)

    async def _follow(self, target: str) -> Results:
        """What include: and redirect= lead to."""
        self.lookups += 1
        if "%" in target:
            self.unknown = True
            return {}
        if target.lower() in self._path:
            self.errors.append(f"{target} includes itself: {_GIVEN_UP}")
            return {}
        if self.lookups > _WALK_LIMIT:
            return {}
        records = [text for text in await self._asker.txt(target) if is_spf(text)]
        if len(records) != 1:
            what = "several SPF records" if records else "no SPF record"
            self.errors.append(f"{self._path[-1]} refers to {target}, which has {what}: {_GIVEN_UP}")
            return {}
        return await self._record(target, records[0])

    def _within(self, network: str, domain: str) -> set[str]:
        try:
            parsed = ipaddress.ip_network(network, strict=False)
        except ValueError:
            self.errors.append(f'"{network}" in the record of {domain} is no network: {_GIVEN_UP}')
            return set()
        return {address for address in self._addresses if ipaddress.ip_address(address) in parsed}
