"""The worker role dies in the middle of compaction and of garbage collection, while mail goes on.

Both would come only after days, so the test ages the documents they wait for: retention is kept by age alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.faults.auditor import Message
from tests.faults.clients import ImapClient
from tests.faults.compose import BOX
from tests.faults.harness import WORKERS, Platform, poll
from tests.faults.load import Account, Load, Mix
from tests.faults.test_faults_crash import running

pytestmark = pytest.mark.stack

DAY = 24 * 3600 * 1000


@pytest.fixture
async def no_workers(platform: Platform) -> AsyncIterator[None]:
    """No worker runs but the one the test starts; both run again afterwards."""
    for worker in WORKERS:
        await platform.kill(worker)
    yield
    for worker in WORKERS:
        await platform.start(worker)


async def fill(load: Load, account: Account, count: int) -> list[Message]:
    """So many messages in an INBOX, some with an attachment of their own; three quarters expunged, which are returned."""
    client = await ImapClient.connect(load.sites.imap[0], account.address, account.password)
    await client.select(BOX)
    rng = load.rng(f"pictures {account.address}")
    messages = [
        await load.append(client, account, picture=rng.randrange(100, 1 << 60) if n % 10 == 1 else None)
        for n in range(count)
    ]
    gone = [message for n, message in enumerate(messages) if n % 4]
    await load.remove(client, account, gone)
    client.close()
    return gone


async def test_a_worker_dies_in_compaction(platform: Platform, seed: int, no_workers: None) -> None:
    accounts = await platform.accounts(2)
    load = platform.load(accounts, seed, Mix(senders=2))
    for account in accounts:
        await fill(load, account, 100)
    due = {"a": {"$in": [platform.account_id(account) for account in accounts]}, "compact_at": {"$exists": True}}
    assert platform.database["mailboxes"].count_documents(due) == len(accounts)
    async with running(load):
        for point in ("compaction.before_commit", "commit.between_writes", "compaction.after_commit"):
            died = await platform.death(await platform.start_armed(WORKERS[0], point))
            platform.check_writable(f"worker {point}", await load.deliver_to_all(load.sites.smtp, died))
        await platform.start(WORKERS[0])
        await poll(lambda: not platform.database["mailboxes"].count_documents(due), 60)
        await platform.finish(load)


async def test_a_worker_dies_collecting_garbage(platform: Platform, seed: int, no_workers: None) -> None:
    """New mail brings the same attachments again meanwhile: what is about to be collected may come into new use."""
    accounts = await platform.accounts(2)
    load = platform.load(accounts, seed, Mix(senders=2, large=0.1))
    for account in accounts:
        await fill(load, account, 40)
    garbage = Garbage(platform, accounts)
    async with running(load):
        for point in ("gc.before_mark", "gc.before_delete_bodies", "gc.before_delete_bodies"):
            garbage.age()
            died = await platform.death(await platform.start_armed(WORKERS[0], point))
            platform.check_writable(f"worker {point}", await load.deliver_to_all(load.sites.smtp, died))
        assert garbage.bodies() > 0
        for point in ("gc.before_delete_head", "gc.after_delete_head"):
            garbage.age()
            died = await platform.death(await platform.start_armed(WORKERS[0], point))
            platform.check_writable(f"worker {point}", await load.deliver_to_all(load.sites.smtp, died))
        assert garbage.bodies() == 0
        garbage.age()
        await platform.start(WORKERS[0])
        await poll(lambda: garbage.blobs() == 0, 60)
        await platform.finish(load)


class Garbage:
    """What was expunged in these accounts, and the blobs that only it names."""

    def __init__(self, platform: Platform, accounts: Sequence[Account]) -> None:
        self._db = platform.database
        self._accounts = [platform.account_id(account) for account in accounts]
        self._mine = {"a": {"$in": self._accounts}}
        joined = b"".join(bytes(tombstone["b"]) for tombstone in self._db["vanished"].find(self._mine))
        self._bodies = [joined[at : at + 16] for at in range(0, len(joined), 16)]
        found = self._db["bodies"].find({"_id": {"$in": self._bodies}, "blobs": {"$exists": True}})
        self._blobs = [digest for body in found for digest in body["blobs"]]
        assert self._bodies
        assert self._blobs

    def age(self) -> None:
        """Everything is as if it had happened so long ago that the next look at it acts."""
        now = time.time_ns() // 1_000_000
        marked = {**self._mine, "dead_since": {"$exists": True}}
        self._db["vanished"].update_many(
            self._mine, {"$set": {"at": now - 15 * DAY}}
        )  # not so old that they are pruned
        self._db["bodies"].update_many(marked, {"$set": {"dead_since": now - 2 * DAY}})
        self._db["blobs"].update_many({}, {"$set": {"touched": now - 2 * DAY}})
        for account_id in self._accounts:
            due = {"a": account_id, "due": 0, "noted": 0}
            self._db["gc"].update_one({"_id": account_id}, {"$set": due}, upsert=True)

    def bodies(self) -> int:
        """How many bodies are left."""
        return self._db["bodies"].count_documents({"_id": {"$in": self._bodies}})

    def blobs(self) -> int:
        """How many blobs are left."""
        return self._db["blobs"].count_documents({"_id": {"$in": self._blobs}})
