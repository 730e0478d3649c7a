"""Mail out under load: users who submit, remote servers that take, refuse or put off, and what became of each recipient.

    async with remote_servers(platform, load, senders, seed) as remote:
        ...                                   # the load runs, workers die
        await remote.settle()                 # before the verdict

A dead worker's claims would come back after two minutes, and what failed twice later still: `settle` ages both.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

from tests.faults.auditor import Finding, Kind, Observed, token_of
from tests.faults.auditor_outside import OPEN, WAITING, Copy, judge_outside
from tests.faults.clients import Endpoint
from tests.faults.compose import GONE, LATER
from tests.faults.harness import Platform, poll
from tests.faults.load import Account, Load, Sender, observe
from tests.support.dns_server import DnsServer, dns_server
from tests.support.smtp_sink import Says, Sink, smtp_sink

DELIVERERS = ("delivery_worker-1", "delivery_worker-2")
DOMAINS = [f"r{number}.example" for number in range(6)]
ZONE = "\n".join(f"{name}. 60 MX 10 {name}.\n{name}. 60 A 127.0.0.1" for name in DOMAINS)
SETTLE_SECONDS = 120.0
PAUSE = 4  # times as long as the load's other actors think


class Submitter:
    """A user who writes to other servers, and to accounts here."""

    def __init__(self, load: Load, user: Account, endpoints: Sequence[Endpoint], sink: Sink) -> None:
        rng = load.rng(user.address)
        self._load = load
        self._sink = sink
        self._rng = rng
        self._sender = Sender(load, rng, endpoints, user)

    async def run(self) -> None:
        while not self._load.stopping:
            remote = [self._recipient(domain) for domain in self._rng.sample(DOMAINS, self._rng.choice((1, 1, 2)))]
            here = [account.address for account in self._load.accounts]
            local = self._rng.sample(here, 1) if here and self._rng.random() < 0.3 else []
            await self._sender.send(local, self._rng.random() < self._load.mix.drop, remote)
            for _ in range(PAUSE):
                await self._load.pause(self._rng)
        self._sender.close()

    def _recipient(self, domain: str) -> str:
        name = self._rng.choice(["ann", "bob", "cid", "dan", "eve", GONE, LATER])
        if name == GONE:  # each another: nobody writes to an address a second time that its server doesn't know
            name += str(self._rng.randrange(1 << 30))
            self._sink.on[f"RCPT <{name}@{domain}>"] = Says("550 5.1.1 No such user")
        return f"{name}@{domain}"


@dataclass(slots=True)
class RemoteServers:
    """One sink for all domains, and the users who send there."""

    platform: Platform
    load: Load
    senders: list[Account]
    sink: Sink
    dns: DnsServer

    def copies(self) -> list[Copy]:
        """What the remote servers have taken."""
        return [
            Copy(token_of(m.content), rcpt[4:].partition(">")[0], m.content, m.at, self.sink.cut.get(m.connection))
            for m in self.sink.messages
            for rcpt in m.rcpts
        ]

    def states(self) -> dict[tuple[str, str], list[str]]:
        """What the queue says of each recipient. Documents are known by the ids that 250s named, or that the remote
        servers read in the message's Received."""
        names = {trace: m.token for m in self.load.ledger.messages.values() for trace in m.traces}
        for taken in self.sink.messages:
            names |= dict.fromkeys(re.findall(r"\bid ([0-9A-Za-z]+)", _top(taken.content)), token_of(taken.content))
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        ids = [self.platform.account_id(sender) for sender in self.senders]
        for document in self.platform.database["queue"].find({"a": {"$in": ids}}):
            for recipient in document["recipients"]:
                state = recipient["state"]
                if state == "pending":
                    state = WAITING if str(recipient.get("last", {}).get("reply", "")).startswith("450") else OPEN
                found[names.get(document["t"], document["t"]), recipient["address"]].append(state)
        return dict(found)

    def open(self) -> set[tuple[str, str]]:
        """Recipients of whom nobody has heard yet."""
        return {key for key, found in self.states().items() if OPEN in found}

    async def judge(self, _observed: Mapping[str, Observed]) -> list[Finding]:
        """The judgement of mail out, with the notices in the senders' mailboxes."""
        notices: list[bytes] = []
        findings = []
        for sender in self.senders:
            for row in (await observe(self.load.sites.imap[0], sender)).rows:
                if not row.content.startswith(b"Return-Path: <>\r\n"):
                    findings.append(Finding(Kind.UNKNOWN, sender.address, f"UID {row.uid} is no notice"))
                notices.append(row.content)
        deaths = [at for name, at in self.platform.deaths if name in DELIVERERS]
        return findings + judge_outside(self.load.ledger, self.copies(), self.states(), notices, deaths)

    def figures(self) -> str:
        """What was done, for the report."""
        copies = self.copies()
        states = [state for found in self.states().values() for state in found]
        twice = len(copies) - len({(copy.token, copy.recipient) for copy in copies})
        counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        return f"mail out: {counts}; {twice} copies twice"

    async def settle(self) -> None:
        """When the load has ended: no worker's claim is left, and all that can be done has been done."""
        for name in DELIVERERS:
            if self.platform.stack.pid(name) is not None:
                await self.platform.kill(name)
        await poll(lambda: self.sink.open == 0, SETTLE_SECONDS)
        queue, now = self.platform.database["queue"], time.time_ns() // 1_000_000
        queue.update_many({"state": "claimed"}, {"$set": {"lease_until": now, "due": now}})
        await poll(lambda: not queue.count_documents({"state": "claimed"}), SETTLE_SECONDS)
        for name in DELIVERERS:
            await self.platform.start(name, wait=False)
        await asyncio.to_thread(self.platform.stack.wait_ready, DELIVERERS)
        async with asyncio.timeout(SETTLE_SECONDS):
            while self.open():
                await asyncio.to_thread(self.platform._rest, "POST", "/v1/queue:retry", {"all": True})
                await asyncio.sleep(1)  # attempts take their time; what failed again waits for minutes otherwise


@asynccontextmanager
async def remote_servers(
    platform: Platform, load: Load, senders: Sequence[Account], settings: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[RemoteServers]:
    """The servers with both delivery workers (and `settings` for those); the load gets the senders' actors and the judge
    of mail out."""
    async with dns_server(ZONE) as dns, smtp_sink() as sink:
        for name in DOMAINS:
            sink.on[f"RCPT <{LATER}@{name}>"] = Says("450 4.2.1 Later")
        platform.stack.extra_env["delivery_worker"] = {
            "MB_DNS_SERVERS": dns.address,
            "MB_MX_PORT": str(sink.port),
            "MB_MX_NETWORKS": "127.0.0.0/8",
            **settings,
        }
        remote = RemoteServers(platform, load, list(senders), sink, dns)
        endpoints = [
            Endpoint("127.0.0.1", platform.stack.ports(f"smtp_ingress-{n}")["submissions"], platform.tls)
            for n in (1, 2)
        ]
        load.actors += [Submitter(load, user, endpoints, sink) for user in senders]
        load.judges.append(remote.judge)
        await asyncio.to_thread(platform._rest, "POST", "/v1/queue:remove", {"all": True})  # what other tests have left
        await platform.add("delivery_worker")
        try:
            yield remote
        finally:
            for name in DELIVERERS:
                if platform.stack.pid(name) is not None:
                    await platform.kill(name)


def _top(content: bytes) -> str:
    """The first trace fields of a message."""
    return content[:2000].partition(b"\r\nFrom: ")[0].decode(errors="replace")
