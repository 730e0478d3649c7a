"""Mail out while delivery workers die at each step, and storage_api while it commits what they report.

Both workers are killed at every point, one attempt at a time, so that it is known how many messages the remote server
took without the store learning of it: those come again, and no others. Then kill -9 at random, many attempts at a time.
A dead worker's claims would come back after minutes, so the test ages their leases.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.faults.harness import Platform, poll
from tests.faults.load import Account
from tests.faults.test_faults_rest import API, Client
from tests.support.dns_server import dns_server
from tests.support.smtp_sink import Says, Sink, smtp_sink

pytestmark = pytest.mark.stack

DELIVERERS = ("delivery_worker-1", "delivery_worker-2")
DOMAINS = [f"d{number}.example" for number in range(10)]
ZONE = "\n".join(
    f"{name}. 60 A 127.0.0.1" if number % 2 else f"{name}. 60 MX 10 {name}.\n{name}. 60 A 127.0.0.1"
    for number, name in enumerate(DOMAINS)
)
LOST = {
    "delivery.claimed": 0,
    "delivery.connected": 0,
    "delivery.sent": 1,
    "delivery.answered": 1,
    "delivery.reported": 0,
}
"""Where a worker dies, and how many messages the remote server has then that the store believes unsent."""
COMMITS = ("queue_report.before_commit", "queue_report.after_commit")
ROUND = 12
WAIT_SECONDS = 60.0

STATES = {"r": "delivered", "s": "delivered", "g": "failed", "l": "waiting"}
"""What becomes of a recipient, by its first letter."""

Copy = tuple[str, str]
"""A message's subject and a recipient."""


@dataclass(slots=True)
class Outside:
    """The senders, the remote servers, and what must not get lost between them."""

    platform: Platform
    client: Client
    sender: Account
    sink: Sink
    subjects: dict[str, str] = field(default_factory=dict)
    accepted: set[Copy] = field(default_factory=set)
    lost: Counter[Copy] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def submit(self) -> None:
        """A message to one or two domains; some recipients don't exist, some are to wait."""
        number = next(self.numbers)
        here, there = DOMAINS[number % 10], DOMAINS[(number + 3) % 10]
        to = [f"r@{here}"] + [f"s@{there}"] * (number % 5 == 0)
        to += [f"gone{number}@{here}"] * (number % 7 == 0) + [f"later@{here}"] * (number % 11 == 0)
        self.sink.on[f"RCPT <gone{number}@{here}>"] = Says("550 5.1.1 No such user")
        subject = f"out-{number}"
        body = json.dumps({"from": self.sender.address, "to": to, "subject": subject, "text": "only"}).encode()
        path = f"/accounts/{self.sender.address}/submit"
        answer = await self.client.until_done(path, body, "application/json", subject)
        self.subjects[str(answer["trace_id"])] = subject
        self.accepted |= {(subject, address) for address in to}

    async def submit_many(self, count: int = ROUND) -> None:
        """Several at once."""
        await asyncio.gather(*(self.submit() for _ in range(count)))

    def copies(self) -> Counter[Copy]:
        """What the remote servers have."""
        found: Counter[Copy] = Counter()
        for taken in self.sink.messages:
            subject = re.search(rb"^Subject: (\S+)\r$", taken.content, re.MULTILINE)
            assert subject is not None
            found.update((subject[1].decode(), rcpt[4:].partition(">")[0]) for rcpt in taken.rcpts)
        return found

    def states(self) -> dict[Copy, str]:
        """What the store says of each recipient; one that was told to wait is `waiting`."""
        found = {}
        for document in self.platform.database["queue"].find({"t": {"$in": list(self.subjects)}}):
            for recipient in document["recipients"]:
                told = str(recipient.get("last", {}).get("reply", "")).startswith("450")
                state = "waiting" if recipient["state"] == "pending" and told else recipient["state"]
                found[self.subjects[document["t"]], recipient["address"]] = state
        return found

    async def take_back(self) -> int:
        """With no worker alive: end the leases, note what came without a report; how many did since the last time."""
        queue, before = self.platform.database["queue"], self.lost.total()
        await poll(lambda: self.sink.open == 0, WAIT_SECONDS)
        now = time.time_ns() // 1_000_000
        queue.update_many({"state": "claimed"}, {"$set": {"lease_until": now, "due": now}})
        await poll(lambda: not queue.count_documents({"state": "claimed"}), WAIT_SECONDS)
        copies = self.copies()
        for copy, state in self.states().items():
            if state in ("pending", "waiting"):
                self.lost[copy] = copies[copy]
        return self.lost.total() - before

    async def settle(self, open_still: Collection[Copy] = ()) -> None:
        """With workers alive: wait until nothing is to be done but to wait, and count every copy.

        A dead worker's report of `open_still` may have been under way when it was killed.
        """
        # What met two deaths in a row would wait for minutes.
        await asyncio.to_thread(self.platform._rest, "POST", "/v1/queue:retry", {"all": True})
        await poll(lambda: "pending" not in self.states().values(), WAIT_SECONDS)
        states, copies = self.states(), self.copies()
        assert set(states) == self.accepted
        for copy, state in states.items():
            assert state == STATES[copy[1][0]], copy
            reported = copies[copy] - self.lost[copy]
            assert reported == (state == "delivered") or (reported == 0 and copy in open_still), copy


@pytest.fixture
async def outside(platform: Platform) -> AsyncIterator[Outside]:
    """Remote servers for ten domains; no delivery worker runs, and nothing is queued."""
    platform._rest("POST", "/v1/queue:remove", {"all": True})
    (sender,) = await platform.accounts(1)
    headers = {"authorization": f"Bearer {platform.stack.env['MB_API_TOKEN']}"}
    async with dns_server(ZONE) as dns, smtp_sink() as sink, aiohttp.ClientSession(headers=headers) as http:
        for name in DOMAINS:
            sink.on[f"RCPT <later@{name}>"] = Says("450 4.2.1 Later")
        platform.stack.extra_env["delivery_worker"] = {
            "MB_DNS_SERVERS": dns.address,
            "MB_MX_PORT": str(sink.port),
            "MB_MX_NETWORKS": "127.0.0.0/8",
        }
        yield Outside(platform, Client(platform, http), sender, sink)
        for name in DELIVERERS:
            if platform.stack.pid(name) is not None:
                await platform.kill(name)


async def start_deliverers(platform: Platform) -> None:
    """Both delivery workers, without a crash point, ready."""
    for name in DELIVERERS:
        await platform.start(name, wait=False)
    await asyncio.to_thread(platform.stack.wait_ready, DELIVERERS)


async def test_what_was_accepted_is_delivered_bounced_or_queued(
    platform: Platform, seed: int, outside: Outside
) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    environment = platform.stack.extra_env["delivery_worker"]

    environment["MB_JOBS_AT_ONCE"] = "1"
    for point, expected in LOST.items():
        await outside.submit_many()
        pids = [await platform.start_armed(name, f"{point}:{rng.randint(1, 3)}") for name in DELIVERERS]
        await asyncio.gather(*(platform.death(pid, WAIT_SECONDS) for pid in pids))
        assert await outside.take_back() == expected * len(pids), point

    environment["MB_JOBS_AT_ONCE"] = "20"
    await start_deliverers(platform)
    for point in COMMITS:
        pid = await platform.start_armed(API, f"{point}:{rng.randint(1, 3)}")
        died = asyncio.create_task(platform.death(pid, WAIT_SECONDS))
        while not died.done():
            await outside.submit()
        await died
    await platform.start(API)
    await outside.settle()
    taken = len(outside.sink.messages)
    await asyncio.gather(outside.submit_many(), outside.sink.until(messages=taken + rng.randint(1, ROUND)))
    for name in DELIVERERS:
        await platform.kill(name)
    known = outside.lost.copy()
    at_random = await outside.take_back()
    open_still = outside.lost - known  # a dead worker's report of these may have been under way, and counts
    await outside.take_back()  # and so may a claim

    await start_deliverers(platform)
    await outside.settle(open_still)
    counts = dict(Counter(outside.states().values()))
    print(f"{len(outside.subjects)} messages: {counts}; twice: {outside.lost.total()}, of them at random {at_random}")
    status, findings, _ = await platform.audit()
    assert (status, findings) == (0, [])
