"""Mail out without a queue: one document handed to the delivery worker's parts, and what it reports.

async with outbound(ZONE, timeouts=Timeouts(...)) as out:
    reports = await out.send(out.claimed(["bob@b.example"]))
"""

from __future__ import annotations

import os
import random
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from delivery_worker.delivery import Deliverer, Work
from delivery_worker.lookup import DnsLookup, make_resolver
from delivery_worker.mta_sts import Fetch, Policies, PolicyError
from delivery_worker.mx import Exchangers
from delivery_worker.pool import Pool, Troubles
from delivery_worker.remote_tls import context_for
from delivery_worker.route import Router
from delivery_worker.smtp_session import Opener
from delivery_worker.timeouts import Timeouts
from mailboat_common.config import Network
from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.queue import (
    Claimed,
    ClaimToken,
    Phases,
    QueuedRecipient,
    QueueId,
    RecipientReport,
    TlsMode,
    Transport,
)

from tests.support.dns_server import DnsServer, dns_server

MESSAGE = b"From: ann@a.example\r\nTo: bob@b.example\r\nSubject: hello\r\n\r\nHow are you?\r\n.\r\n..dots\r\n"
LOOPBACK = ("127.0.0.0/8",)


async def no_policy(domain: str) -> bytes:
    """There is no web server."""
    raise PolicyError(f"none for {domain}")


@dataclass
class Outbound:
    """The parts. `reported` holds every call of report: (results, final); `phases` what the watch showed then."""

    dns: DnsServer
    pool: Pool
    deliverer: Deliverer
    clock: Clock
    hops: dict[str, str] = field(default_factory=dict)
    reported: list[tuple[list[RecipientReport], bool]] = field(default_factory=list)
    phases: list[Phases] = field(default_factory=list)
    may_finish: bool = True

    @staticmethod
    def claimed(recipients: Sequence[str | QueuedRecipient], content: bytes = MESSAGE, **changes: Any) -> Claimed:
        """A document; its domain is the first recipient's."""
        queued = tuple(QueuedRecipient(item) if isinstance(item, str) else item for item in recipients)
        values: dict[str, Any] = {
            "queue_id": QueueId(uuid7()),
            "attempt": 1,
            "token": ClaimToken(os.urandom(16)),
            "lease_until": int(time.time() * 1000) + 120_000,
            "trace_id": trace_id(),
            "domain": queued[0].address.rpartition("@")[2],
            "transport": Transport(),
            "reverse_path": "ann@a.example",
            "recipients": queued,
            "size": len(content),
            "content": content,
            "eight_bit": not content.isascii(),
        }
        return Claimed(**(values | changes))

    async def send(self, claimed: Claimed) -> list[RecipientReport]:
        """Deliver; the reports in the order of the recipients."""
        found: dict[str, RecipientReport] = {}
        finals: list[bool] = []

        async def content() -> bytes:
            assert claimed.content is not None
            return claimed.content

        async def report(results: Sequence[RecipientReport], final: bool) -> None:
            self.reported.append((list(results), final))
            self.phases.append(work.watch.phases())
            assert not finals or not finals[-1], "a report after the final one"
            finals.append(final)
            for item in results:
                assert item.address not in found, "reported twice"
                found[item.address] = item

        work = Work(claimed, content, lambda: self.may_finish, report)
        await self.deliverer.deliver(work)
        assert finals[-1]
        return [found[recipient.address] for recipient in claimed.recipients]


@dataclass
class Clock:
    """Monotonic seconds that a test moves on."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def outbound(
    zone: str,
    *,
    port: int = 25,
    timeouts: Timeouts | None = None,
    networks: Sequence[Network] | None = None,
    fetch: Fetch = no_policy,
    own_name: str = "mail.example.test",
    limit: int = 20,
    idle_seconds: float = 60.0,
    max_messages: int = 100,
    ca: bytes = b"",
) -> AsyncIterator[Outbound]:
    """The parts over a DNS of their own; mail hosts are reached at `port` and may be on loopback."""
    from ipaddress import ip_network

    allowed = [ip_network(text) for text in LOOPBACK] if networks is None else list(networks)
    async with dns_server(zone) as dns:
        resolver = make_resolver([dns.address])
        resolver.timeout, resolver.lifetime = 0.2, 0.5
        clock = Clock()
        lookup = DnsLookup(resolver, clock=clock)
        exchangers = Exchangers(lookup, own_name, allowed, random.Random(7))
        opener = Opener(own_name, timeouts or Timeouts().scaled(0.1), lambda mode: trusting(ca, mode))
        pool = Pool(opener, Troubles(clock), limit=limit, idle_seconds=idle_seconds, max_messages=max_messages)
        router = Router(exchangers, Policies(lookup, fetch, clock=clock), port=port)
        hops: dict[str, str] = {}
        try:
            yield Outbound(dns, pool, Deliverer(router, pool, hops.__setitem__), clock, hops)
        finally:
            await pool.close()


def trusting(ca: bytes, mode: TlsMode) -> ssl.SSLContext:
    """The context of a mode, with this authority (PEM) instead of the system's."""
    if mode in (TlsMode.VERIFY, TlsMode.IMPLICIT) and ca:
        context = ssl.create_default_context(cadata=ca.decode("ascii"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context
    return context_for(mode)
