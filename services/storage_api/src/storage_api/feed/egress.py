"""HTTP to receivers we don't know: the request can't be turned against the cluster it leaves from.

Rules: the addresses of a name are looked at after they are resolved, and the connection goes to one of those, so a name
that answers otherwise the next time gains nothing. Only global unicast addresses pass, also where an IPv6 address
carries an IPv4 one (mapped, NAT64, 6to4, Teredo); networks listed by the operator pass besides, and only there may a
URL be plain http. Certificates are verified. Redirects aren't followed, no proxy is taken from the environment,
cookies aren't kept, an answer is read up to 16 KB and never decompressed, and everything ends within 15 s.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from mailboat_common.config import Network
from yarl import URL

TOTAL_SECONDS = 15.0
CONNECT_SECONDS = 5.0
ANSWER_BYTES = 16 << 10
CONNECTIONS = 256

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """The receiver is at an address that requests may not go to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. `status` 0: there was no answer; `error` is a text of ours, "" for a 2xx.

    `result` is ok, refused, timeout, unreachable or forbidden.
    """

    status: int
    error: str
    result: str
    seconds: float


class Egress:
    """Sends requests. `listed`: networks that pass besides the global ones; `tls`: whom to trust."""

    def __init__(
        self, listed: Sequence[Network], *, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._listed = tuple(listed)
        self._resolve = resolve or _resolve
        self._tls = tls or ssl.create_default_context()
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        """One POST; whatever happens is an Answer."""
        started = time.perf_counter()
        target = URL(url)
        try:
            self._check_literal(target)
            async with self._session(target.scheme).post(
                target, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
                await answer.content.read(ANSWER_BYTES)
                if not answer.content.at_eof():
                    answer.close()
        except TimeoutError:
            return Answer(0, f"no answer within {TOTAL_SECONDS:.0f} s", "timeout", time.perf_counter() - started)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            result, text = _fault(error)
            return Answer(0, text, result, time.perf_counter() - started)
        seconds = time.perf_counter() - started
        if 200 <= status < 300:
            return Answer(status, "", "ok", seconds)
        text = "redirects aren't followed" if 300 <= status < 400 else "the receiver refused it"
        return Answer(status, f"status {status}: {text}", "refused", seconds)

    async def close(self) -> None:
        """Ends all connections."""
        for session in self._sessions.values():
            await session.close()

    def permitted(self, address: str, *, plain: bool) -> bool:
        """Whether a request may go to this address; `plain` without TLS."""
        found = ip_address(address.partition("%")[0])
        if any(found in network for network in self._listed):
            return True
        return not plain and all(map(_public, (found, *_embedded(found))))

    def _check_literal(self, url: URL) -> None:
        """An address written into the URL is never resolved, so it is looked at here."""
        try:
            ip_address((url.host or "").partition("%")[0])
        except ValueError:
            return
        if not self.permitted(url.host or "", plain=url.scheme != "https"):
            raise ForbiddenAddressError

    def _session(self, scheme: str) -> aiohttp.ClientSession:
        session = self._sessions.get(scheme)
        if session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Checked(self._resolve, lambda address: self.permitted(address, plain=scheme != "https")),
                use_dns_cache=False,
                limit=CONNECTIONS,
                ssl=self._tls,
            )
            session = self._sessions[scheme] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers={"user-agent": "Mailboat"},
            )
        return session


class _Checked(AbstractResolver):
    """Resolves, and gives the connector only what may be connected to."""

    def __init__(self, resolve: Resolve, permitted: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._permitted = permitted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._resolve(host, port)
        if not all(map(self._permitted, addresses)):  # one bad apple: whoever runs this name isn't to be trusted
            raise ForbiddenAddressError
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _resolve(host: str, port: int) -> Sequence[str]:
    """The system's answer; a name with dots is asked absolute, without the search list."""
    name = host + "." if "." in host and not host.endswith(".") else host
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _public(address: Address) -> bool:
    unwanted = address.is_multicast or address.is_reserved or address.is_unspecified
    if isinstance(address, IPv6Address):
        mapped_like = address.ipv4_mapped is not None or address in _NAT64
        return mapped_like or (address.is_global and not unwanted and not address.is_site_local)
    return address.is_global and not unwanted


def _embedded(address: Address) -> list[IPv4Address]:
    """IPv4 addresses that traffic for an IPv6 address may end at."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def _fault(error: Exception) -> tuple[str, str]:
    """(result, our text) of a request without an answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddressError):
            return "forbidden", "the receiver is in a network that isn't permitted (MB_WEBHOOK_NETWORKS)"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "unreachable", "the receiver's certificate isn't valid"
        if isinstance(cause, ssl.SSLError):
            return "unreachable", "TLS with the receiver failed"
        if isinstance(cause, socket.gaierror):
            return "unreachable", "the receiver's name can't be resolved"
        cause = cause.__cause__ or cause.__context__
    return "unreachable", "the receiver can't be reached"
