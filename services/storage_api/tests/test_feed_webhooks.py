"""Webhooks: in order, signed, repeated, given up, never in each other's way."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mailboat_common.errors import Refused
from mailboat_common.ids import decode_id, encode_id
from mailboat_store_client.types import AccountId
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.feed import dispatcher as module
from storage_api.feed.dispatcher import Dispatcher
from storage_api.feed.egress import Answer
from storage_api.feed.relay import Relay
from storage_api.feed.stream import Stream
from storage_api.feed.webhooks import Webhook, Webhooks, sign
from storage_api.store import outbox
from storage_api.store.outbox import Kind

from tests.support.store import new_account

TAKEN = Answer(200, "", "ok", 0.0)
REFUSED = Answer(500, "status 500: the receiver refused it", "refused", 0.0)

Answers = Callable[[str, dict[str, Any]], Awaitable[Answer]]


async def take(_url: str, _event: dict[str, Any]) -> Answer:
    """A receiver that takes everything."""
    return TAKEN


@dataclass
class Receivers:
    """What `Egress` is to a dispatcher: `answer(url, event)` decides; `got` are events by URL, in order of arrival."""

    answer: Answers = take
    got: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    """Of the last request, whose body is `body`."""
    body: bytes = b""
    at_once: int = 0
    most: int = 0

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Answer:
        event = json.loads(body)
        assert headers["webhook-id"] == event["id"]
        self.headers, self.body = headers, body
        self.got.setdefault(url, []).append(event)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            return await self.answer(url, event)
        finally:
            self.at_once -= 1

    def seqs(self, url: str, account_id: AccountId) -> list[int]:
        return [e["seq"] for e in self.got.get(url, []) if e.get("account_id") == encode_id(account_id)]


class World:
    """Webhooks over an empty stream, and a clock that is set by hand (ms)."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.now = time.time_ns() // 1_000_000
        self.stream = Stream(db)
        self.receivers = Receivers()
        self.webhooks = Webhooks(db, self.stream, lambda: self.now)
        self.dispatcher = self.worker()

    def worker(self) -> Dispatcher:
        return Dispatcher(self.db, self.stream, self.receivers, lambda: self.now)  # type: ignore[arg-type]

    async def emit(self, account_id: AccountId, count: int = 1, kind: Kind = Kind.ACCOUNT_ENABLED) -> None:
        for _ in range(count):
            async with self.db.session() as session:
                await session.begin()
                await outbox.emit(self.db, session, account_id, kind, {}, now=self.now)
                await session.commit()
        while await Relay(self.db).run(0):
            pass

    async def work(self, *dispatchers: Dispatcher) -> None:
        """Slices until nothing is due."""
        while tasks := [task for each in dispatchers or (self.dispatcher,) for task in await each.start_due()]:
            await asyncio.wait(tasks)

    async def get(self, webhook: Webhook) -> Webhook:
        return await self.webhooks.get(webhook.webhook_id)


@pytest.fixture
async def world(db: Database) -> AsyncIterator[World]:
    for collection in (schema.OUTBOX, schema.STREAM, schema.WEBHOOKS):
        await db[collection].delete_many({})
    head = await db[schema.FEEDS].find_one({"_id": "head"})
    assert head is not None
    await db[schema.FEEDS].update_one({"_id": "head"}, {"$set": {"floor": head["next"]}})
    yield World(db)


async def test_each_account_comes_in_order_and_no_endpoint_gets_more_than_eight_at_once(world: World) -> None:
    accounts = [await new_account(world.db) for _ in range(12)]
    hook = await world.webhooks.create("https://a.example/")
    for _ in range(11):
        for account_id in accounts:
            await world.emit(account_id)
    turn = asyncio.Event()

    async def slowly(_url: str, _event: dict[str, Any]) -> Answer:
        asyncio.get_running_loop().call_soon(turn.set)
        await turn.wait()
        return TAKEN

    world.receivers.answer = slowly
    await world.work()
    for account_id in accounts:
        assert world.receivers.seqs("https://a.example/", account_id) == list(range(1, 12))
    assert 1 < world.receivers.most <= module.PER_ENDPOINT
    shown = await world.get(hook)
    assert (shown.pending, shown.lag_seconds, shown.failures, shown.last_success_at) == (0, 0, 0, world.now)


async def test_a_refused_event_holds_up_its_account_and_what_was_taken_is_not_sent_again(world: World) -> None:
    first, second = await new_account(world.db), await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.emit(first)
    await world.emit(second)
    await world.emit(first)
    await world.emit(second)
    broken = True

    async def refuse_first(_url: str, event: dict[str, Any]) -> Answer:
        return REFUSED if broken and event["account_id"] == encode_id(first) else TAKEN

    world.receivers.answer = refuse_first
    await world.work()
    shown = await world.get(hook)
    assert (shown.failures, shown.pending) == (1, 4)
    assert shown.last_error == {"at": world.now, "status": 500, "error": REFUSED.error}
    assert shown.next_attempt_at > world.now
    broken = False
    await world.work()  # it rests
    assert world.receivers.seqs("https://a.example/", first) == [1]
    world.now = shown.next_attempt_at
    await world.work()
    assert world.receivers.seqs("https://a.example/", first) == [1, 1, 2]
    assert world.receivers.seqs("https://a.example/", second) == [1, 2]
    shown = await world.get(hook)
    assert (shown.failures, shown.failing_since, shown.pending) == (0, 0, 0)


async def test_it_rests_longer_each_time_and_is_disabled_after_five_days(world: World) -> None:
    account_id = await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.emit(account_id)

    async def refuse(_url: str, _event: dict[str, Any]) -> Answer:
        return REFUSED

    world.receivers.answer = refuse
    began, rests = world.now, list[float]()
    while (shown := await world.get(hook)).state == "active":
        await world.work()
        shown = await world.get(hook)
        rests.append((shown.next_attempt_at - world.now) / 1000)
        world.now = shown.next_attempt_at
    assert [rest / planned for rest, planned in zip(rests, module.RESTS, strict=False)] == pytest.approx(
        [1.0] * len(module.RESTS), abs=0.21
    )
    assert max(rests) <= module.RESTS[-1] * 1.2
    assert (shown.state, shown.reason) == ("disabled", "it failed for five days")
    assert 5 <= (world.now - began) / 86_400_000 < 5.5
    await world.work()
    sent = len(world.receivers.got["https://a.example/"])
    world.receivers.answer = take
    await world.webhooks.resume(hook.webhook_id)
    await world.work()
    assert len(world.receivers.got["https://a.example/"]) == sent + 1
    assert (await world.get(hook)).state == "active"


async def test_410_gone_disables_at_once(world: World) -> None:
    hook = await world.webhooks.create("https://a.example/")

    async def gone(_url: str, _event: dict[str, Any]) -> Answer:
        return Answer(410, "status 410: the receiver refused it", "refused", 0.0)

    world.receivers.answer = gone
    await world.emit(await new_account(world.db))
    await world.work()
    shown = await world.get(hook)
    assert (shown.state, shown.reason) == ("disabled", "the receiver answered 410 Gone")


async def test_a_receiver_that_hangs_delays_no_other(world: World) -> None:
    account_id = await new_account(world.db)
    await world.webhooks.create("https://dead.example/")
    await world.webhooks.create("https://a.example/")
    release = asyncio.Event()

    async def hang(url: str, _event: dict[str, Any]) -> Answer:
        if "dead" in url:
            await release.wait()
        return TAKEN

    world.receivers.answer = hang
    await world.emit(account_id)
    tasks = await world.dispatcher.start_due()
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await world.emit(account_id)
    (again,) = await world.dispatcher.start_due()
    await again
    assert world.receivers.seqs("https://a.example/", account_id) == [1, 2]
    assert world.receivers.seqs("https://dead.example/", account_id) == [1]
    release.set()
    await asyncio.wait(tasks)


async def test_filters(world: World) -> None:
    first, second = await new_account(world.db), await new_account(world.db)
    for account_id, address in ((first, "a@one.test"), (second, "b@two.test")):
        await world.db[schema.ACCOUNTS].update_one({"_id": account_id}, {"$set": {"address": address}})
    await world.webhooks.create("https://kind/", kinds=["account.deleted"])
    await world.webhooks.create("https://domain/", domains=["two.test"])
    await world.webhooks.create("https://account/", accounts=["a@one.test"])
    await world.emit(first)
    await world.emit(second, kind=Kind.ACCOUNT_DELETED)
    await world.work()
    got = {url: [(e["account"], e["type"]) for e in events] for url, events in world.receivers.got.items()}
    assert got == {
        "https://kind/": [("b@two.test", "account.deleted")],
        "https://domain/": [("b@two.test", "account.deleted")],
        "https://account/": [("a@one.test", "account.enabled")],
    }
    assert [each.pending for each in await world.webhooks.page("", 10)] == [0, 0, 0]


async def test_pause_resume_and_replay(world: World) -> None:
    account_id = await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.emit(account_id, 2)
    await world.work()
    await world.webhooks.pause(hook.webhook_id)
    await world.emit(account_id)
    await world.work()
    assert world.receivers.seqs(hook.url, account_id) == [1, 2]
    await world.webhooks.resume(hook.webhook_id)
    await world.work()
    await world.webhooks.replay(hook.webhook_id, hook.position + 1)
    await world.work()
    assert world.receivers.seqs(hook.url, account_id) == [1, 2, 3, 2, 3]
    ids = [event["id"] for event in world.receivers.got[hook.url]]
    assert ids[1:3] == ids[3:5], "a repeat has the id it had"
    with pytest.raises(Refused):
        await world.webhooks.replay(hook.webhook_id, 1 << 40)


async def test_a_replay_in_the_middle_of_a_page_is_not_undone_by_its_end(world: World) -> None:
    account_id = await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.emit(account_id, 2)

    async def replay(_url: str, event: dict[str, Any]) -> Answer:
        if event["seq"] == 2:
            world.receivers.answer = take
            await world.webhooks.replay(hook.webhook_id, hook.position)
        return TAKEN

    world.receivers.answer = replay
    await world.work()
    assert world.receivers.seqs(hook.url, account_id) == [1, 2, 1, 2]


async def test_two_workers_never_serve_an_endpoint_at_once_and_a_dead_one_is_relieved(world: World) -> None:
    account_id = await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.emit(account_id, 3)
    other = world.worker()
    await world.work(world.dispatcher, other)
    assert world.receivers.seqs(hook.url, account_id) == [1, 2, 3]
    held = {"holder": b"of the dead", "until": world.now + 60_000}
    await world.db[schema.WEBHOOKS].update_one({"_id": decode_id(hook.webhook_id)}, {"$set": held})
    await world.emit(account_id)
    await world.work(other)
    assert world.receivers.seqs(hook.url, account_id) == [1, 2, 3]
    world.now += 60_000
    await world.work(other)
    assert world.receivers.seqs(hook.url, account_id) == [1, 2, 3, 4]


async def test_what_was_removed_unsent_is_told(world: World) -> None:
    account_id = await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.webhooks.pause(hook.webhook_id)
    for _ in range(3):
        await world.emit(account_id)
    await Relay(world.db).prune(world.now, keep_ms=60_000, keep_events=1)
    assert (await world.get(hook)).lost_events
    await world.webhooks.resume(hook.webhook_id)
    await world.work()
    assert world.receivers.seqs(hook.url, account_id) == [3]
    assert (await world.get(hook)).lost_events


async def test_a_test_delivery_goes_out_whatever_the_state(world: World) -> None:
    hook = await world.webhooks.create("https://a.example/")
    await world.webhooks.pause(hook.webhook_id)
    number = await world.webhooks.ask_test(hook.webhook_id)
    assert await world.webhooks.test_result(hook.webhook_id, number) is None
    await world.work()
    result = await world.webhooks.test_result(hook.webhook_id, number)
    assert result is not None
    assert (result["status"], result["error"]) == (200, "")
    assert [event["type"] for event in world.receivers.got[hook.url]] == ["webhook.test"]


HOUR = 3_600_000


def signed_with(world: World, secrets: list[str]) -> list[bool]:
    """Which of the secrets, among them all that sign, the last request is signed with."""
    headers, body = world.receivers.headers, world.receivers.body
    given = headers["webhook-signature"].split(" ")

    def alone(secret: str) -> str:
        return sign([secret], headers["webhook-id"], int(headers["webhook-timestamp"]), body)["webhook-signature"]

    assert len(given) == sum(alone(secret) in given for secret in secrets)
    return [alone(secret) in given for secret in secrets]


async def signers(world: World, hook: Webhook, secrets: list[str]) -> list[bool]:
    """The same of a test delivery."""
    await world.webhooks.ask_test(hook.webhook_id)
    await world.work()
    return signed_with(world, secrets)


async def test_old_secrets_sign_beside_the_new_one_until_their_overlap_ends(world: World) -> None:
    hook = await world.webhooks.create("https://a.example/")
    secrets = [hook.secret]
    assert await signers(world, hook, secrets) == [True]
    for _ in range(2):  # whoever missed the first answer asks again
        made = await world.webhooks.rotate_secret(hook.webhook_id, 24 * HOUR)
        assert made.old_secrets_until == world.now + 24 * HOUR
        secrets.append(made.secret)
        world.now += HOUR
    assert len(set(secrets)) == 3
    assert await signers(world, hook, secrets) == [True, True, True]
    assert (await world.get(hook)).secret == ""
    world.now += 22 * HOUR
    assert await signers(world, hook, secrets) == [False, True, True]
    world.now += HOUR
    assert await signers(world, hook, secrets) == [False, False, True]
    assert (await world.get(hook)).old_secrets_until == 0


async def test_a_secret_that_others_know_signs_no_more(world: World) -> None:
    hook = await world.webhooks.create("https://a.example/")
    second = await world.webhooks.rotate_secret(hook.webhook_id, HOUR)
    third = await world.webhooks.rotate_secret(hook.webhook_id, 0)
    assert third.old_secrets_until == 0
    assert await signers(world, hook, [hook.secret, second.secret, third.secret]) == [False, False, True]
    stored = await world.db[schema.WEBHOOKS].find_one({"_id": decode_id(hook.webhook_id)})
    assert second.secret not in str(stored)
    with pytest.raises(Refused):
        await world.webhooks.rotate_secret(encode_id(bytes(16)), HOUR)


async def test_a_rotation_takes_the_endpoint_from_a_worker_that_knows_the_old_secret(world: World) -> None:
    account_id = await new_account(world.db)
    hook = await world.webhooks.create("https://a.example/")
    await world.emit(account_id, 2)

    async def rotate(_url: str, event: dict[str, Any]) -> Answer:
        if len(world.receivers.got[hook.url]) == 1:
            secrets.append((await world.webhooks.rotate_secret(hook.webhook_id, 0)).secret)
        return TAKEN

    secrets: list[str] = []
    world.receivers.answer = rotate
    await world.work()
    assert world.receivers.seqs(hook.url, account_id)[-1] == 2
    assert signed_with(world, [hook.secret, *secrets]) == [False, True]


def test_the_signature_is_what_openssl_makes_of_it(tmp_path: Path) -> None:
    key = bytes(range(32))
    headers = sign(["whsec_" + base64.b64encode(key).decode()], "id-1", 1_700_000_000, b'{"a":1}')
    (tmp_path / "signed").write_bytes(b'id-1.1700000000.{"a":1}')
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    made = subprocess.run([*command, str(tmp_path / "signed")], capture_output=True, check=True).stdout
    assert headers["webhook-signature"] == "v1," + base64.b64encode(made).decode()


@pytest.mark.parametrize(
    "url",
    ["", "crm.example.test", "ftp://a.example/", "https://u:p@a.example/", "https://a.example/#x", "https://:443/"],
)
async def test_urls_that_are_none(world: World, url: str) -> None:
    with pytest.raises(Refused):
        await world.webhooks.create(url)
