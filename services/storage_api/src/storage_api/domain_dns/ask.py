"""Questions to DNS, for the check of a domain's records: plain values out, three kinds of outcome.

Records, "there are none" (no such name, or none of this type), or `NoAnswer`: the resolver was silent or failed, which
says nothing about the records. Nothing is cached: somebody has just changed a record and wants to see it. The time for
one question is bounded, and so is the number of questions of one check (`Asker`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

SECONDS = 5.0
MAX_QUESTIONS = 200
PORT = 53


class NoAnswer(Exception):
    """No name server gave an answer that counts. The text says which question, for a person."""


def resolver(servers: Sequence[str]) -> dns.asyncresolver.Resolver:
    """A resolver with these servers ("host", "host:port", "[host]:port"; addresses), or the system's if there are none.

    Raises ValueError for what isn't an address.
    """
    try:
        made = dns.asyncresolver.Resolver(configure=not servers)
    except dns.resolver.NoResolverConfiguration:  # no /etc/resolv.conf: every question gets NoAnswer
        made = dns.asyncresolver.Resolver(configure=False)
    if servers:
        made.nameservers = [_server(text) for text in servers]
    made.lifetime = SECONDS
    made.timeout = SECONDS / 2
    made.use_edns(0, 0, 1232)
    return made


def _server(text: str) -> dns.nameserver.Nameserver:
    host, port = text, PORT
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = int(rest.removeprefix(":") or PORT)
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
        port = int(number)
    return dns.nameserver.Do53Nameserver(str(ipaddress.ip_address(host)), port)


class Asker:
    """The questions of one check; the same one is asked once. `resolver` as from the function of this name."""

    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self._resolver = resolver
        self._known: dict[tuple[str, str], list[str] | None] = {}

    async def txt(self, name: str) -> list[str]:
        """TXT records, each with its strings joined. Raises NoAnswer."""
        return await self._ask(name, "TXT")

    async def mx(self, name: str) -> list[tuple[int, str]]:
        """(preference, host without the final dot, "" for a null MX) by preference. Raises NoAnswer."""
        found = [text.split(" ") for text in await self._ask(name, "MX")]
        return sorted((int(preference), host.removesuffix(".").lower()) for preference, host in found)

    async def srv(self, name: str) -> list[tuple[int, str]]:
        """(port, host without the final dot). Raises NoAnswer."""
        found = [text.split(" ") for text in await self._ask(name, "SRV")]
        return [(int(port), host.removesuffix(".").lower()) for _priority, _weight, port, host in found]

    async def cname(self, name: str) -> str | None:
        """The name that `name` is an alias of. Raises NoAnswer."""
        found = await self._ask(name, "CNAME")
        return found[0].removesuffix(".").lower() if found else None

    async def addresses(self, name: str) -> list[str]:
        """IPv4 and IPv6 addresses. Raises NoAnswer."""
        return [*await self._ask(name, "A"), *await self._ask(name, "AAAA")]

    async def ptr(self, address: str) -> list[str]:
        """The names of an address. Raises NoAnswer."""
        found = await self._ask(dns.reversename.from_address(address).to_text(), "PTR")
        return [name.removesuffix(".").lower() for name in found]

    async def _ask(self, name: str, kind: str) -> list[str]:
        key = (name.lower().removesuffix("."), kind)
        if key not in self._known:
            if len(self._known) >= MAX_QUESTIONS:
                raise NoAnswer("there were too many questions")
            self._known[key] = await self._resolve(*key)
        found = self._known[key]
        if found is None:
            raise NoAnswer(f"no name server answered for {kind} of {key[0]}")
        return found

    async def _resolve(self, name: str, kind: str) -> list[str] | None:
        try:
            answer = await self._resolver.resolve(name + ".", kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.SyntaxError, dns.name.LabelTooLong, dns.name.NameTooLong, dns.name.EmptyLabel):
            return []  # a record of somebody's names something that can't be a name
        except (dns.exception.DNSException, OSError):
            return None
        if answer.rrset is None:
            return []
        if kind == "TXT":
            return [b"".join(rdata.strings).decode("utf-8", "replace") for rdata in answer.rrset]
        return [rdata.to_text() for rdata in answer.rrset]
