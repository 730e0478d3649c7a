"""Events for other systems while storage_api and the worker die at the worst moments.

Three that listen: a webhook, a stream of Server-Sent Events that resumes, and a queue on RabbitMQ. When the load has
ended each must have been told of every event that was counted in the accounts' documents, in order of `seq`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import aiohttp
import pytest
from aiohttp import web
from mailboat_common.ids import encode_id
from mailboat_local.services import amqp_url

from tests.faults.harness import WORKERS, Platform, poll
from tests.faults.load import Mix
from tests.faults.test_faults_crash import API, running

pytestmark = pytest.mark.stack

WAIT_SECONDS = 90.0


class Told:
    """What one listener was told: the seq of each account's events, repeats left out."""

    def __init__(self) -> None:
        self.seqs: dict[str, list[int]] = defaultdict(list)
        self.repeats = 0
        self._ids: set[str] = set()

    def tell(self, event: dict[str, Any]) -> None:
        """One event, in order of arrival."""
        if event["id"] in self._ids:
            self.repeats += 1
            return
        self._ids.add(event["id"])
        self.seqs[event["account_id"]].append(event["seq"])

    def complete(self, counted: dict[str, int]) -> bool:
        """Whether as many came as were counted."""
        return {name: len(self.seqs[name]) for name in counted} == counted

    def faults(self, counted: dict[str, int]) -> list[str]:
        """What is missing, too much or out of order."""
        return [
            f"{len(self.seqs[name])} of {count} events of {name}, not in order from 1: {self.seqs[name]}"
            for name, count in counted.items()
            if self.seqs[name] != list(range(1, count + 1))
        ]


@contextlib.asynccontextmanager
async def webhook(platform: Platform, told: Told) -> AsyncIterator[None]:
    """A receiver on loopback that takes all requests but each 200th, after which it is left alone for seconds."""
    requests = itertools.count(1)

    async def take(request: web.Request) -> web.Response:
        event = json.loads(await request.read())
        if next(requests) % 200 == 0:
            return web.Response(status=503)
        told.tell(event)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made = await asyncio.to_thread(platform._rest, "POST", "/v1/webhooks", {"url": f"http://127.0.0.1:{port}/"})
    try:
        yield
    finally:
        await asyncio.to_thread(platform._rest, "DELETE", f"/v1/webhooks/{made['id']}", None)
        await runner.cleanup()


@contextlib.asynccontextmanager
async def event_source(platform: Platform, told: Told) -> AsyncIterator[None]:
    """A client that comes back to the other replica with the last id it saw."""
    head = platform.database["feeds"].find_one({"_id": "head"})
    assert head is not None

    async def listen() -> None:
        last, pod = head["next"] - 1, 1
        accept = {"accept": "text/event-stream"}
        headers = {"authorization": f"Bearer {platform.stack.env['MB_API_TOKEN']}"}
        async with aiohttp.ClientSession(headers=headers) as client:
            while True:
                url = f"http://127.0.0.1:{platform.stack.ports(f'storage_api-{pod}')['rest']}/v1/events"
                with contextlib.suppress(aiohttp.ClientError):
                    async with client.get(url, headers=accept | {"last-event-id": str(last)}) as answer:
                        async for line in answer.content:
                            name, _, value = line.decode().rstrip("\n").partition(": ")
                            if name == "id":
                                last = int(value)
                            elif name == "data":
                                told.tell(json.loads(value))
                pod = 3 - pod
                await asyncio.sleep(0.05)

    task = asyncio.create_task(listen())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@contextlib.asynccontextmanager
async def queue(platform: Platform, told: Told) -> AsyncIterator[None]:
    """A consumer of everything on the exchange."""

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        assert (message.routing_key, message.message_id) == (event["type"], event["id"])
        told.tell(event)

    connection = await aio_pika.connect(amqp_url(platform.stack.layout, platform.stack.settings))
    async with connection:
        channel = await connection.channel()
        bound = await channel.declare_queue(exclusive=True)
        await bound.bind("mailboat.public", "#")
        await bound.consume(take, no_ack=True)
        yield


def end_leases(platform: Platform) -> None:
    """What a dead worker has held may be taken at once; one that lives only has to take its own again."""
    for name in ("feeds", "webhooks"):
        platform.database[name].update_many({"until": {"$gt": 0}}, {"$set": {"until": 0}})


@pytest.mark.parametrize("heard", [[1, 2, 3], [1, 3, 4], [1, 3, 2, 4], [1, 2, 3, 4, 5]])
def test_a_lost_swapped_or_invented_event_is_found(heard: list[int]) -> None:
    told = Told()
    for seq in (1, 2, 2, 3, 4):
        told.tell({"id": f"e{seq}", "account_id": "a", "seq": seq})
    assert told.repeats == 1
    assert told.faults({"a": 4}) == []
    told.seqs["a"] = heard
    assert len(told.faults({"a": 4})) == 1


async def test_nothing_committed_is_missing_from_the_stream(platform: Platform, seed: int) -> None:
    rng = random.Random(seed)
    for name in WORKERS:
        platform.stack.extra_env.setdefault(name, {})["MB_WEBHOOK_NETWORKS"] = "127.0.0.0/8"
        await platform.kill(name)
        await platform.start(name)
    listeners = {name: Told() for name in ("webhook", "stream", "queue")}
    async with (
        webhook(platform, listeners["webhook"]),
        event_source(platform, listeners["stream"]),
        queue(platform, listeners["queue"]),
    ):
        accounts = await platform.accounts_of_pod(1, 4)
        async with running(platform.load(accounts, seed, Mix(senders=2, recipients=0.5, pause=0.1))) as load:
            for point in ("commit.between_writes", "deliver.after_commit"):
                await platform.death(await platform.start_armed(API, f"{point}:{rng.randint(1, 30)}"), WAIT_SECONDS)
            await platform.start(API)
            for point in ("relay.before_commit", "relay.after_commit", "exchange.published", "webhook.sent"):
                if point == "exchange.published":  # one worker's at a time from here: it must be the armed one's
                    await platform.kill(WORKERS[1])
                pid = await platform.start_armed(WORKERS[0], f"{point}:{rng.randint(1, 2)}")
                end_leases(platform)
                await platform.death(pid, WAIT_SECONDS)
            end_leases(platform)
            for name in WORKERS:
                await platform.start(name, wait=False)
            await platform.finish(load)
        ids = [platform.account_id(account) for account in accounts]
        counted = {
            encode_id(each["_id"]): each["seq"] for each in platform.database["accounts"].find({"_id": {"$in": ids}})
        }
        assert min(counted.values()) > 1
        for name, told in listeners.items():
            with contextlib.suppress(TimeoutError):
                await poll(lambda told=told: told.complete(counted), WAIT_SECONDS)  # type: ignore[misc]
            assert told.faults(counted) == [], name
        figures = {name: told.repeats for name, told in listeners.items()}
        print(f"{sum(counted.values())} events to each of three listeners; told again: {figures}")
    assert platform.database["outbox"].count_documents({}) == 0
