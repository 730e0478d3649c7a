"""POP3 on two pods and the real store: one maildrop, the same unique ids, and copies that go after their time.

What would take a minute or days is aged in MongoDB: the end of a lease, the day of a retrieval.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mailboat_store_client.columns import U32, pack_numbers, unpack
from pymongo import MongoClient
from pymongo.database import Database

from tests.support.stack import Account, Live, message
from tests.support.wire import Wire

pytestmark = pytest.mark.stack

Mongo = Database[dict[str, Any]]


@pytest.fixture
async def mongo(live: Live) -> AsyncIterator[Mongo]:
    """The stack's database."""
    client: MongoClient[dict[str, Any]] = MongoClient(live.stack.mongodb_uri)
    yield client.get_default_database()
    client.close()


def ids(mongo: Mongo, account: Account) -> tuple[bytes, bytes]:
    """The account's id and that of its INBOX."""
    found = mongo["accounts"].find_one({"address": account.address})
    assert found is not None
    return found["_id"], found["inbox"]


async def lines(wire: Wire, command: str) -> list[str]:
    """A multi-line answer without its first and last line."""
    assert (await wire.say(command)).startswith("+OK")
    found = []
    while (line := await wire.line()) != ".":
        found.append(line)
    return found


async def filled(live: Live, count: int) -> Account:
    account = live.account()
    for number in range(count):
        await live.deliver(account, message(f"number {number}"))
    return account


async def test_unique_ids_are_the_same_on_each_pod_and_after_a_restart(live: Live) -> None:
    account = await filled(live, 3)
    seen = []
    for pod in (1, 2):
        wire = await live.pop3(pod, account)
        seen.append(await lines(wire, "UIDL"))
        assert await wire.say("QUIT") == "+OK Bye"
    await asyncio.to_thread(live.stack.kill, "pop3_gateway-1")
    await asyncio.to_thread(live.stack.start, "pop3_gateway-1")
    wire = await live.pop3(1, account)
    await wire.say("DELE 1")
    assert await wire.say("QUIT") == "+OK Bye"
    await live.deliver(account, message("later"))
    after = [line.split()[1] for line in await lines(await live.pop3(2, account), "UIDL")]
    before = [line.split()[1] for line in seen[0]]
    assert seen[0] == seen[1]
    assert after[:2] == before[1:]
    assert after[2] not in before
    assert all(len(one) <= 70 and all("!" <= c <= "~" for c in one) for one in (*before, *after))


async def test_a_killed_pods_maildrop_is_free_once_its_lease_has_run_out(live: Live, mongo: Mongo) -> None:
    account = await filled(live, 2)
    holder = await live.pop3(1, account)
    assert (await holder.say("DELE 1")).startswith("+OK")
    account_id, _ = ids(mongo, account)
    await asyncio.to_thread(live.stack.kill, "pop3_gateway-1")
    try:
        other = await live.pop3(2)
        await other.say(f"USER {account.address}")
        assert (await other.say(f"PASS {account.password}")).startswith("-ERR [IN-USE]")
        lease = mongo["leases"].find_one({"_id": account_id})
        assert lease is not None
        left = (lease["expires"] - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).total_seconds()
        assert 0 < left <= 60
        expired = {"$set": {"expires": datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)}}
        assert mongo["leases"].update_one({"_id": account_id}, expired).modified_count == 1
        await other.say(f"USER {account.address}")
        assert (await other.say(f"PASS {account.password}")) == "+OK 2 messages", "a mark without QUIT is no removal"
    finally:
        await asyncio.to_thread(live.stack.start, "pop3_gateway-1")


async def test_copies_go_after_the_domains_days_and_imap_is_told(live: Live, mongo: Mongo) -> None:
    account = await filled(live, 3)
    live.rest("PATCH", f"/v1/accounts/{account.address}", {"pop3_retention_days": 30})
    imap = await live.imap(1, account, "INBOX")
    wire = await live.pop3(2, account)
    assert "EXPIRE 30" in await lines(wire, "CAPA")
    for number in (1, 3):
        assert (await lines(wire, f"RETR {number}"))[-1] != ""
    assert await wire.say("QUIT") == "+OK Bye"
    assert ids(mongo, account)[1] in {record["_id"] for record in mongo["retrieved"].find()}
    await swept(live)
    assert b"* 3 EXISTS" in await (await live.imap(2, account)).ok("EXAMINE INBOX"), "not a day too early"
    age(mongo, account, 32)
    imap.send(b"i IDLE\r\n")
    assert (await imap.response()).startswith(b"+")
    await swept(live)
    told = [await asyncio.wait_for(imap.response(), 30) for _ in range(2)]
    assert sorted(told) in ([b"* 1 EXPUNGE", b"* 2 EXPUNGE"], [b"* 1 EXPUNGE", b"* 3 EXPUNGE"])
    again = await live.pop3(1, account)
    assert (await again.say("STAT")).startswith("+OK 1 ")


async def test_a_worker_killed_while_it_removes_removes_no_more_and_no_less(live: Live, mongo: Mongo) -> None:
    people = [await filled(live, 2) for _ in range(6)]
    for account in people:
        live.rest("PATCH", f"/v1/accounts/{account.address}", {"pop3_retention_days": 1})
        wire = await live.pop3(1, account)
        await lines(wire, "RETR 1")
        assert await wire.say("QUIT") == "+OK Bye"
        age(mongo, account, 3)
    workers = live.services("storage_worker")
    for _ in range(3):
        for worker in workers:
            await asyncio.to_thread(live.stack.kill, worker)
            await asyncio.to_thread(live.stack.start, worker, None)
    await swept(live)
    for account in people:
        _, inbox = ids(mongo, account)
        assert await (await live.imap(1, account)).ok("STATUS INBOX (MESSAGES)") == [b"* STATUS INBOX (MESSAGES 1)"]
        assert [t["reason"] for t in mongo["vanished"].find({"m": inbox})] == ["pop3_retention"]
        assert mongo["retrieved"].find_one({"_id": inbox}) is None


def age(mongo: Mongo, account: Account, days: int) -> None:
    """What was retrieved was retrieved so many days earlier."""
    _, inbox = ids(mongo, account)
    record = mongo["retrieved"].find_one({"_id": inbox})
    assert record is not None
    earlier = pack_numbers(U32, [day - days for day in unpack(U32, record["d"])])
    mongo["retrieved"].update_one({"_id": inbox}, {"$set": {"d": earlier, "oldest": record["oldest"] - days}})


async def swept(live: Live) -> None:
    """A worker starts, and has swept once."""
    worker = live.services("storage_worker")[0]
    await asyncio.to_thread(live.stack.kill, worker)
    await asyncio.to_thread(live.stack.start, worker)
    async with asyncio.timeout(60):
        while True:
            _, text = await live.page(worker, "/metrics")
            if 'mailboat_worker_runs_total{job="retention",result="ok"}' in text:
                return
            await asyncio.sleep(0.1)
