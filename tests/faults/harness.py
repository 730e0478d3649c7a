"""The stack under test: accounts, armed crash points, deaths, and mailboatctl's own audit.

Everything about the running platform that the judge itself must not know. Calls that change processes are synchronous
in the runner and go through a thread, so that the load goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import os
import secrets
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mailboat_local.stack import Stack
from mailboat_store_client.balance import Address
from pymongo import MongoClient
from pymongo.database import Database

from tests.faults.auditor import Finding, Observed, judge_usage
from tests.faults.clients import Endpoint
from tests.faults.compose import archive_of
from tests.faults.load import Account, Load, Mix, Sites

DOMAIN = "faults.test"
WRITABLE_SECONDS = 2.0
CRASH_SECONDS = 30.0
WORKERS = ("storage_worker-1", "storage_worker-2")


class Platform:
    """A running stack of two replicas with the domain `faults.test`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.tls = ssl.create_default_context(cafile=str(stack.layout.ca))
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(stack.mongodb_uri)
        self.notes: list[str] = []
        self.deaths: list[tuple[str, float]] = []  # who was killed, and when (monotonic clock)
        self._numbers = itertools.count(1)

    # Whom and where

    def setup(self) -> None:
        """The domain of the accounts."""
        self._rest("POST", "/v1/domains", {"name": DOMAIN})

    def sites(self, pods: Sequence[int] = (1, 2)) -> Sites:
        """The listeners of some replicas: SMTP in clear text on 25, IMAP over TLS."""
        smtp = [Endpoint("127.0.0.1", self.stack.ports(f"smtp_ingress-{n}")["smtp"]) for n in pods]
        imap = [Endpoint("127.0.0.1", self.stack.ports(f"imap_gateway-{n}")["imaps"], self.tls) for n in pods]
        pop3 = [Endpoint("127.0.0.1", self.stack.ports(f"pop3_gateway-{n}")["pop3s"], self.tls) for n in pods]
        return Sites(tuple(smtp), tuple(imap), tuple(pop3))

    async def accounts(self, count: int) -> list[Account]:
        """New accounts that nobody has used."""
        made = [Account(f"user{next(self._numbers)}@{DOMAIN}", secrets.token_urlsafe(12)) for _ in range(count)]
        rows = [{"address": account.address, "password": account.password} for account in made]
        answer = await asyncio.to_thread(self._rest, "POST", "/v1/accounts:batch", {"accounts": rows})
        assert {row["result"] for row in answer["results"]} == {"created"}, answer
        return made

    async def accounts_of_pod(self, pod: int, count: int) -> list[Account]:
        """New accounts, at least half of which, the first ones, have their writes sent to this replica of storage_api."""
        made = await self.accounts(count)
        while sum(self._pod_of(account) == pod for account in made) * 2 < count:
            (more,) = await self.accounts(1)
            if self._pod_of(more) == pod:
                made.pop(next(n for n, account in enumerate(made) if self._pod_of(account) != pod))
                made.append(more)
        return sorted(made, key=lambda account: self._pod_of(account) != pod)

    def account_id(self, account: Account) -> bytes:
        """The account's id in the store."""
        found = self.database["addresses"].find_one({"_id": account.address})
        assert found is not None, f"{account.address} has no address document"
        return bytes(found["a"])

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The store itself, for planting faults and ageing documents."""
        return self.mongo.get_default_database()

    def _pod_of(self, account: Account) -> int:
        ports = [self.stack.ports(f"storage_api-{n}")["internal"] for n in (1, 2)]
        addresses = [Address(f"http://127.0.0.1:{port}") for port in ports]
        key = self.account_id(account)
        return 1 + max((0, 1), key=lambda n: addresses[n].score(key))

    def _rest(self, method: str, path: str, body: object) -> Any:
        request = urllib.request.Request(
            self.stack.api_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.stack.env['MB_API_TOKEN']}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    # Life and death

    async def add(self, *services: str) -> list[str]:
        """Start both replicas of services that most of these tests do without; the next test's `platform` ends them."""
        names = [f"{service}-{n}" for service in services for n in (1, 2)]
        for name in names:
            await self.start(name, wait=False)
        await asyncio.to_thread(self.stack.wait_ready, names)
        return names

    async def start(self, name: str, wait: bool = True) -> int:
        """Start a process that isn't running, without a crash point; its pid."""
        self.stack.extra_env.get(name, {}).pop("MB_CRASH_POINT", None)
        return await asyncio.to_thread(self.stack.start, name, 60.0 if wait else None)

    async def start_armed(self, name: str, point: str) -> int:
        """Kill a process if it runs, and start it with an armed crash point, which it may reach before it is ready."""
        if self.stack.pid(name) is not None:
            await asyncio.to_thread(self.stack.kill, name)
        self.stack.extra_env.setdefault(name, {})["MB_CRASH_POINT"] = point
        return await asyncio.to_thread(self.stack.start, name, None)

    async def kill(self, name: str) -> float:
        """SIGKILL; when it died."""
        await asyncio.to_thread(self.stack.kill, name)
        self.deaths.append((name, time.monotonic()))
        return self.deaths[-1][1]

    async def death(self, pid: int, seconds: float = CRASH_SECONDS) -> float:
        """Waits until a process is gone; when that was. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        descriptor = os.pidfd_open(pid)
        loop.add_reader(descriptor, gone.set)
        try:
            async with asyncio.timeout(seconds):
                await gone.wait()
            return time.monotonic()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def stopped(self, pid: int, seconds: float = CRASH_SECONDS) -> float:
        """Waits until a process stands still (SIGSTOP); when that was. Raises TimeoutError."""
        stat = Path(f"/proc/{pid}/stat")
        await poll(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", seconds, 0.005)
        return time.monotonic()

    # Judgement

    async def audit(self) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
        """(exit status, findings, summary) of `mailboatctl audit --json`."""
        command = Path(sys.executable).parent / "mailboatctl"
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **self.stack.env}
        process = await asyncio.create_subprocess_exec(
            command, "audit", "--json", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines, f"audit exited {process.returncode} without a line: {err.decode(errors='replace')}"
        assert process.returncode is not None
        return process.returncode, [line for line in lines if "summary" not in line], lines[-1].get("summary", {})

    async def finish(self, load: Load) -> str:
        """End the load, judge it, ask mailboatctl too. Raises AssertionError with everything that is wrong."""
        await load.stop()
        self.free_maildrops(load.maildrops)
        findings = await load.verdict()
        status, found, summary = await self.audit()
        figures = f"{load.figures()}; audit: {summary}"
        self.notes.append(figures)
        print(figures)
        assert not findings, report(findings)
        assert (status, found) == (0, []), f"mailboatctl audit found {found}"
        return figures

    def load(
        self,
        accounts: Sequence[Account],
        seed: int,
        mix: Mix | None = None,
        crowd: Sequence[Account] = (),
        *,
        maildrops: Sequence[Account] = (),
    ) -> Load:
        """A load on these accounts; its seed is printed."""
        print(f"seed {seed}, {len(accounts) + len(maildrops) + len(crowd)} accounts")
        load = Load(self.sites(), accounts, seed, mix, crowd, maildrops=maildrops)
        load.judges.append(lambda observed: self._judge_usage(load, observed))
        return load

    async def _judge_usage(self, load: Load, observed: Mapping[str, Observed]) -> list[Finding]:
        """What the REST API says that each account uses."""
        findings = []
        for account in load.accounts:
            said = await asyncio.to_thread(self._rest, "GET", f"/v1/accounts/{account.address}", None)
            boxes = [observed[box] for box in (account.address, archive_of(account.address)) if box in observed]
            findings += judge_usage(account.address, said["used_bytes"], boxes)
        return findings

    def free_maildrops(self, accounts: Sequence[Account]) -> None:
        """What sessions of dead gateways still hold, and would for a minute, may be taken at once."""
        held = {"_id": {"$in": [self.account_id(account) for account in accounts]}}
        self.database["leases"].update_many(
            held, {"$set": {"expires": datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)}}
        )

    def check_writable(self, what: str, times: dict[str, float], usual: float = 0.0) -> None:
        """Every mailbox took a message in time. `usual`: how long it took a moment before, with nobody dead."""
        slowest = max(times.values())
        note = f"{what}: writable after {slowest:.3f} s" + (f", before {usual:.3f} s" if usual else "")
        self.notes.append(note)
        print(note)
        assert slowest < WRITABLE_SECONDS + usual, f"{what}: {sorted(times.items(), key=lambda item: -item[1])[:5]}"


def report(findings: Sequence[Finding], most: int = 20) -> str:
    """Findings as a test shows them."""
    lines = [str(finding) for finding in findings[:most]]
    return f"{len(findings)} findings:\n  " + "\n  ".join(lines)


async def poll(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> None:
    """Wait until a condition outside this process holds: nothing there could wake us. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(every)
