"""The collectors beside the store itself: months of random use with a clock that runs ahead, and nothing wrong after."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from mailboat_common.ids import uuid7
from mailboat_store_client.types import AccountId, AppendMessage, BodyId, MailboxId
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.store.accounts import default_mailboxes, new_account_document
from storage_api.store.audit import Finding, audit
from storage_api.store.blobs import now_ms
from storage_api.store.bodies import Bodies
from storage_api.store.committer import Committer
from storage_api.store.compaction import compact_due
from storage_api.store.gc import Collector, Retention
from storage_api.store.reads import MongoMailboxRead
from storage_api.store.write import MongoMailboxWrite
from storage_api.store.writes import date

from tests.support.mongod import Mongod
from tests.support.planted import empty_database

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture
async def own(mongod: Mongod) -> AsyncIterator[Database]:
    """A database that no other test writes to."""
    async with empty_database(mongod.uri, "gcstore") as database:
        yield database


@dataclass(slots=True)
class User:
    """One account, the store under a clock of ours, and what should be visible: mailbox → UID → content."""

    db: Database
    now: int = field(default_factory=now_ms)
    account_id: AccountId = field(default_factory=lambda: AccountId(uuid7()))
    expected: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def clock() -> int:
            return self.now

        self.bodies = Bodies(self.db, clock)
        self.committer = Committer(self.db, clock=clock)
        self.write = MongoMailboxWrite(self.db, self.committer, self.bodies)
        self.read = MongoMailboxRead(self.db, self.bodies)

    bodies: Bodies = field(init=False)
    committer: Committer = field(init=False)
    write: MongoMailboxWrite = field(init=False)
    read: MongoMailboxRead = field(init=False)

    async def begin(self) -> None:
        mailboxes = default_mailboxes(self.account_id, self.now)
        await self.db[schema.MAILBOXES].insert_many(mailboxes)
        await self.db[schema.ACCOUNTS].insert_one(new_account_document(self.account_id, mailboxes))
        self.expected = {mailbox["name"]: {} for mailbox in mailboxes}

    async def id_of(self, name: str) -> MailboxId:
        return (await self.read.head(self.account_id, name)).mailbox_id

    async def append(self, name: str, content: bytes) -> int:
        result = await self.write.append(self.account_id, name, [AppendMessage(content)], key=os.urandom(16))
        self.expected[name][result.uids[0]] = content
        return result.uids[0]

    async def expunge(self, name: str, uids: list[int]) -> None:
        mailbox_id = await self.id_of(name)
        await self.write.expunge(self.account_id, mailbox_id, uids, key=os.urandom(16), only_deleted=False)
        for uid in uids:
            del self.expected[name][uid]

    async def transfer(self, name: str, uids: list[int], target: str, *, move: bool) -> None:
        call = self.write.move if move else self.write.copy
        result = await call(self.account_id, await self.id_of(name), uids, target, key=os.urandom(16))
        self._came(name, target, result.source_uids, result.target_uids, self.expected[name])
        for uid in result.source_uids if move else ():
            del self.expected[name][uid]

    async def undelete(self, name: str, removed: dict[int, bytes]) -> int:
        result = await self.write.undelete(
            self.account_id, await self.id_of(name), list(removed), name, key=os.urandom(16)
        )
        self._came(name, name, result.source_uids, result.target_uids, removed)
        return len(result.target_uids)

    def _came(
        self, _name: str, target: str, sources: tuple[int, ...], targets: tuple[int, ...], contents: dict[int, bytes]
    ) -> None:
        for source, uid in zip(sources, targets, strict=True):
            self.expected[target][uid] = contents[source]

    async def collect(self) -> None:
        """What the worker does, and MongoDB's TTL thread, by our clock."""
        await compact_due(self.db, self.committer, self.now)
        while (await Collector(self.db).collect(self.now)).more:
            continue
        await self.db[schema.DEDUPE].delete_many({"expires": {"$lte": date(self.now)}})

    async def visible(self) -> dict[str, dict[int, bytes]]:
        """All messages of all mailboxes, read back."""
        found: dict[str, dict[int, bytes]] = {}
        for head in (await self.read.tree(self.account_id)).mailboxes:
            changes = await self.read.changes(self.account_id, head.mailbox_id, 0)
            ids = [BodyId(changes.changed.body_id(row)) for row in range(len(changes.changed))]
            contents = await self.read.contents(self.account_id, ids, 1 << 30)
            assert None not in contents
            found[head.name] = {
                uid: content for uid, content in zip(changes.changed.uids, contents, strict=True) if content is not None
            }
        return found

    async def faults(self) -> list[Finding]:
        return [item async for item in audit(self.db, deep=True, now=self.now) if isinstance(item, Finding)]


@pytest.mark.parametrize("seed", range(3))
async def test_months_of_use_lose_nothing_and_leave_nothing(own: Database, seed: int) -> None:
    rng = random.Random(seed)
    user = User(own)
    await user.begin()
    large = [b"Subject: large\r\n\r\n" + random.Random(n).randbytes(70_000 + n) for n in range(4)]
    removed: dict[str, dict[int, bytes]] = {}
    for step in range(90):
        user.now += rng.choice((0, HOUR, DAY, 3 * DAY))
        name = rng.choice([name for name in user.expected if user.expected[name]] or ["INBOX"])
        here = user.expected[name]
        some = rng.sample(sorted(here), min(len(here), rng.randint(1, 4)))
        choice = rng.random()
        if choice < 0.4 or not some:
            content = rng.choice(large) if rng.random() < 0.3 else b"Subject: %d\r\n\r\nsmall\r\n" % step
            await user.append(rng.choice(("INBOX", "Sent")), content)
        elif choice < 0.6:
            removed.setdefault(name, {}).update({uid: here[uid] for uid in some})
            await user.expunge(name, some)
        elif choice < 0.75:
            target = rng.choice(("Trash", "Archive", name))
            if target != name:
                await user.transfer(name, some, target, move=rng.random() < 0.5)
        elif choice < 0.8 and removed.get(name):
            uid = rng.choice(sorted(removed[name]))
            await user.undelete(name, {uid: removed[name].pop(uid)})
        elif choice < 0.85 and f"Box{step}" not in user.expected:
            await user.write.create(user.account_id, f"Box{step}", key=os.urandom(16))
            user.expected[f"Box{step}"] = {}
            await user.transfer(name, some, f"Box{step}", move=False)
        elif choice < 0.9 and name.startswith("Box"):
            await user.write.delete(user.account_id, name, key=os.urandom(16))
            del user.expected[name]
        else:
            await user.collect()
    assert await user.visible() == user.expected
    assert await user.faults() == []
    for days in (15, 1, 1, 1, 15, 2, 90, 2):
        user.now += days * DAY + HOUR
        await user.collect()
    assert await user.visible() == user.expected
    assert await user.faults() == []
    shown = [content for contents in user.expected.values() for content in contents.values()]
    left = await own[schema.BODIES].find({}, {"dead_since": 1})
    assert not any("dead_since" in body for body in left)
    assert len(left) <= len(shown)  # copies share a body
    assert await own[schema.BLOBS].count({}) == len({content for content in shown if len(content) > 65536})
    assert await own[schema.VANISHED].count({}) == 0
    assert await own[schema.GC].count({"due": {"$exists": True}}) == 0
    await user.committer.close()


async def test_below_the_floor_vanished_is_all_that_is_missing(own: Database) -> None:
    user = User(own)
    await user.begin()
    for number in range(300):
        await user.append("INBOX", b"Subject: %d\r\n\r\n" % number)
    inbox = await user.id_of("INBOX")
    synced = (await user.read.head(user.account_id, "INBOX")).highest_modseq
    for uids in ([1, 2, 300], [7], [150, 151]):
        await user.write.expunge(user.account_id, inbox, uids, key=os.urandom(16), only_deleted=False)
    exact = await user.read.vanished(user.account_id, inbox, synced + 1)
    assert (exact.ranges, exact.floor_reached) == (((7, 7), (150, 151)), False)
    user.now += 100 * DAY
    await user.write.expunge(user.account_id, inbox, [299], key=os.urandom(16), only_deleted=False)
    await user.collect()
    everything = ((1, 2), (7, 7), (150, 151), (299, 300))
    for since in (1, synced + 2):
        below = await user.read.vanished(user.account_id, inbox, since)
        assert (below.ranges, below.floor_reached) == (everything, True)
    last = await user.read.vanished(user.account_id, inbox, synced + 3)
    assert (last.ranges, last.floor_reached) == (((299, 299),), False)
    assert last.modseq == synced + 4
    await user.committer.close()


async def test_undelete_within_the_fortnight_and_not_after(own: Database) -> None:
    user = User(own)
    await user.begin()
    uid, other = await user.append("INBOX", b"\r\nback"), await user.append("INBOX", b"\r\nforgotten")
    await user.expunge("INBOX", [uid, other])
    user.now += 13 * DAY
    await user.collect()
    assert await user.undelete("INBOX", {uid: b"\r\nback"}) == 1
    user.now += 2 * DAY
    assert await user.undelete("INBOX", {other: b"\r\nforgotten"}) == 0
    for _ in range(3):
        await user.collect()
        user.now += 2 * DAY
    assert await user.visible() == user.expected
    assert list(user.expected["INBOX"].values()) == [b"\r\nback"]
    assert await own[schema.BODIES].count({}) == 1
    assert await user.faults() == []
    await user.committer.close()


async def test_using_a_marked_body_again_takes_the_mark_away_in_its_transaction(own: Database) -> None:
    """Rule 10: undelete of a message whose body the collector has already marked (a mark too many does no harm)."""
    user = User(own)
    await user.begin()
    uid = await user.append("INBOX", b"\r\nback")
    await user.expunge("INBOX", [uid])
    await own[schema.BODIES].update_many({}, {"$set": {"dead_since": user.now - 2 * DAY}})
    assert await user.undelete("INBOX", {uid: b"\r\nback"}) == 1
    (body,) = await own[schema.BODIES].find({})
    assert "dead_since" not in body
    (again,) = user.expected["INBOX"]
    await own[schema.BODIES].update_many({}, {"$set": {"dead_since": user.now - 2 * DAY}})
    await user.transfer("INBOX", [again], "Archive", move=False)
    (body,) = await own[schema.BODIES].find({})
    assert "dead_since" not in body
    await user.committer.close()


async def test_collectors_beside_running_writers(own: Database) -> None:
    """Several workers mark all the time, while the account works, what it just removed; a day later only that goes."""
    user = User(own)
    await user.begin()
    collector = Collector(own, Retention(restorable=0, resweep=0))

    async def work() -> None:
        rng = random.Random(5)
        for turn in range(40):
            uid = await user.append("INBOX", b"\r\n" + b"%d" % turn * rng.choice((1, 40_000)))
            if rng.random() < 0.5:
                await user.expunge("INBOX", [uid])
            elif rng.random() < 0.5:
                await user.transfer("INBOX", [uid], "Archive", move=True)

    async def collect() -> int:
        marked = 0
        while not working.done():
            user.now += 1
            marked += (await collector.collect(user.now)).bodies_marked
        return marked

    working = asyncio.create_task(work())
    assert sum(await asyncio.gather(collect(), collect())) > 0
    await working
    for _ in range(3):
        user.now += DAY + HOUR
        await collector.collect(user.now)
    assert await user.visible() == user.expected
    assert await own[schema.BODIES].count({}) == sum(len(uids) for uids in user.expected.values())
    assert await user.faults() == []
    await user.committer.close()
