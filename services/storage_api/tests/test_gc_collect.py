"""The collectors on a real mongod, against planted states and in races: what is referred to stays, the rest goes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest
from mailboat_common import crash
from mailboat_common.ids import uuid7
from mailboat_store_client.types import DEAD, AccountId, BodyId
from storage_api.db import schema
from storage_api.db.driver import Collection, Database, Document, Session
from storage_api.store import gc_blobs, gc_bodies
from storage_api.store.blobs import CHUNK, chunk_id
from storage_api.store.bodies import Bodies, PreparedBody
from storage_api.store.gc import Collector, GcReport, Limits, Retention

from tests.support.mongod import Mongod
from tests.support.planted import MESSAGE, Plant, empty_database

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 2_000_000_000_000  # in 2033: every uuid7 made here is long past
RETENTION = Retention(restorable=14 * DAY, grace=DAY, vanished=90 * DAY, resweep=HOUR)


@pytest.fixture
async def own(mongod: Mongod) -> AsyncIterator[Database]:
    """A database that no other test writes to: collectors look at all of it."""
    async with empty_database(mongod.uri, "gc") as database:
        yield database


def account() -> AccountId:
    return AccountId(uuid7())


def collector(db: Database, limits: Limits | None = None) -> Collector:
    return Collector(db, RETENTION, limits)


async def existing(db: Database, account_id: AccountId) -> set[BodyId]:
    return {d["_id"] for d in await db[schema.BODIES].find({"a": account_id}, {"_id": 1})}


class Died(Exception):
    """The process was killed."""


def die_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The next passage of a crash point ends what runs, as a kill would."""

    def hook(passed: str) -> None:
        if passed == name:
            monkeypatch.setattr(crash, "_hook", None)
            raise Died(name)

    monkeypatch.setattr(crash, "_hook", hook)


# Bodies


async def test_only_what_nobody_names_goes_and_only_after_a_day(own: Database) -> None:
    plant, owner = Plant(own), account()
    ids = [await plant.body(owner) for _ in range(7)]
    on_page, dead_row, in_tail, restorable, expired, unused, deleted_box = ids
    inbox, old = plant.mailbox(owner), plant.mailbox(owner, "Old", deleted_at=NOW - DAY)
    page = inbox.tail.__class__()
    inbox.pages.append(page)
    inbox.row(page, 1, on_page, len(MESSAGE))
    inbox.row(page, 2, dead_row, len(MESSAGE), DEAD)
    inbox.row(inbox.tail, 5, in_tail, len(MESSAGE))
    old.row(old.tail, 1, deleted_box, len(MESSAGE))
    await plant.account([inbox, old], owner, removals_at=NOW - 20 * DAY)
    await plant.tombstone(inbox, 9, NOW - 3 * DAY, [(3, restorable)])
    await plant.tombstone(inbox, 8, NOW - 15 * DAY, [(4, expired), (2, dead_row)])

    first = await collector(own).collect(NOW)
    assert (first.accounts_swept, first.bodies_marked, first.bodies_deleted) == (1, 3, 0)
    assert await existing(own, owner) == set(ids)
    early = await collector(own).collect(NOW + DAY - HOUR)
    assert early.bodies_deleted == 0
    second = await collector(own).collect(NOW + DAY)
    assert second.bodies_deleted == 3
    assert await existing(own, owner) == {on_page, in_tail, restorable, deleted_box}
    assert unused in ids
    late = [await collector(own).collect(NOW + days * DAY) for days in (13, 14, 15, 16, 30)]
    assert sum(r.bodies_deleted for r in late) == 2
    assert await existing(own, owner) == {on_page, in_tail}


async def test_accounts_without_removals_are_left_alone(own: Database) -> None:
    plant, owner = Plant(own), account()
    await plant.body(owner)
    await plant.account([plant.mailbox(owner)], owner)
    report = await collector(own).collect(NOW)
    assert report.accounts_swept == 0


async def test_a_swept_account_rests_until_the_next_removal(own: Database) -> None:
    plant, owner = Plant(own), account()
    await plant.account([plant.mailbox(owner)], owner, removals_at=NOW - 15 * DAY)
    assert (await collector(own).collect(NOW)).accounts_swept == 1
    assert (await collector(own).collect(NOW + DAY)).accounts_swept == 0
    await own[schema.ACCOUNTS].update_one({"_id": owner}, {"$set": {"removals_at": NOW + DAY}})
    assert (await collector(own).collect(NOW + 2 * DAY)).accounts_swept == 0  # still restorable
    assert (await collector(own).collect(NOW + 15 * DAY)).accounts_swept == 1


async def test_a_removal_noted_during_a_long_sweep_is_not_forgotten(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker notes it and goes on for half an hour before the sweep writes when to look again."""
    plant, owner = Plant(own), account()
    await plant.account([plant.mailbox(owner)], owner, removals_at=NOW - 15 * DAY)
    judge = gc_bodies.judge

    async def judge_then_remove(db: Database, who: AccountId, after: int, before: int) -> gc_bodies.Judgement:
        judged = await judge(db, who, after, before)
        await own[schema.ACCOUNTS].update_one({"_id": owner}, {"$set": {"removals_at": NOW + HOUR // 12}})
        for minutes in (6, 29):
            await gc_bodies.note_removals(own, RETENTION, Limits(), NOW + minutes * 60_000)
        return judged

    monkeypatch.setattr(gc_bodies, "judge", judge_then_remove)
    await collector(own).collect(NOW)
    monkeypatch.setattr(gc_bodies, "judge", judge)
    assert (await collector(own).collect(NOW + 15 * DAY)).accounts_swept == 1


async def test_a_body_used_again_is_revived_by_the_second_look(own: Database) -> None:
    """The mark was set in the moment of the new use, so the user's transaction had nothing to unset."""
    plant, owner = Plant(own), account()
    body_id = await plant.body(owner)
    inbox = plant.mailbox(owner)
    await plant.account([inbox], owner, removals_at=NOW - 15 * DAY)
    await collector(own).collect(NOW)
    inbox.row(inbox.tail, 1, body_id, len(MESSAGE))
    await own[schema.MAILBOXES].delete_one({"_id": inbox.mailbox_id})
    await own[schema.MAILBOXES].insert_one(inbox.documents()[0][1])
    report = await collector(own).collect(NOW + DAY)
    assert (report.bodies_deleted, report.bodies_revived) == (0, 1)
    (body,) = await own[schema.BODIES].find({"_id": body_id})
    assert "dead_since" not in body


async def test_a_use_between_snapshot_and_deletion_keeps_the_body(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's transaction unsets the mark (rule 10): the deletion's condition fails."""
    plant, owner = Plant(own), account()
    body_id = await plant.body(owner)
    await plant.account([plant.mailbox(owner)], owner, removals_at=NOW - 15 * DAY)
    await collector(own).collect(NOW)
    judge = gc_bodies.judge

    async def judge_then_use(db: Database, who: AccountId, after: int, before: int) -> gc_bodies.Judgement:
        judged = await judge(db, who, after, before)
        assert [found for found, _ in judged.condemned] == [body_id]
        await own[schema.BODIES].update_one({"_id": body_id}, {"$unset": {"dead_since": 1}})
        return judged

    monkeypatch.setattr(gc_bodies, "judge", judge_then_use)
    assert (await collector(own).collect(NOW + DAY)).bodies_deleted == 0
    assert await existing(own, owner) == {body_id}


async def test_marked_again_after_a_use_waits_another_day(own: Database) -> None:
    plant, owner = Plant(own), account()
    body_id = await plant.body(owner)
    await plant.account([plant.mailbox(owner)], owner, removals_at=NOW - 15 * DAY)
    await collector(own).collect(NOW)
    await own[schema.BODIES].update_one({"_id": body_id}, {"$unset": {"dead_since": 1}})
    assert (await collector(own).collect(NOW + DAY)).bodies_marked == 1
    assert (await collector(own).collect(NOW + 2 * DAY)).bodies_deleted == 1


@pytest.mark.parametrize("point", ["gc.before_mark", "gc.before_delete_bodies"])
async def test_a_collector_killed_in_a_sweep_is_finished_by_the_next(
    own: Database, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    plant, owner = Plant(own), account()
    kept, lost = await plant.body(owner), await plant.body(owner)
    inbox = plant.mailbox(owner)
    inbox.row(inbox.tail, 1, kept, len(MESSAGE))
    await plant.account([inbox], owner, removals_at=NOW - 15 * DAY)
    for now in (NOW, NOW + DAY + HOUR):
        die_at(monkeypatch, point)
        with pytest.raises(Died):
            await collector(own).collect(now)
        await collector(own).collect(now + 1)
    await collector(own).collect(NOW + 2 * DAY)
    assert await existing(own, owner) == {kept}
    assert lost != kept


async def test_a_large_account_in_many_pages(own: Database) -> None:
    plant, owner = Plant(own), account()
    template = (await plant.bodies.prepare(owner, MESSAGE)).document
    ids = [uuid7() for _ in range(3000)]
    await own[schema.BODIES].insert_many([{**template, "_id": i} for i in ids], ordered=False)
    inbox = plant.mailbox(owner)
    for start in range(0, 2560, 256):
        inbox.pages.append(inbox.tail.__class__())
        for uid in range(start, start + 256):
            inbox.row(inbox.pages[-1], uid + 1, ids[uid], 10, DEAD if uid % 10 == 0 else 0)
    await plant.account([inbox], owner, removals_at=NOW - 15 * DAY)
    assert (await collector(own).collect(NOW)).bodies_marked == 440 + 256
    assert (await collector(own).collect(NOW + DAY)).bodies_deleted == 696


# Blobs


async def big_body(plant: Plant, owner: AccountId, seed: int, octets: int = 100_000) -> BodyId:
    return await plant.body(owner, b"\r\n" + random.Random(seed).randbytes(octets))


async def test_a_blob_goes_a_day_after_its_last_body(own: Database) -> None:
    plant, owner = Plant(own), account()
    first, second = await big_body(plant, owner, 1), await big_body(plant, account(), 1)
    await big_body(plant, owner, 2, CHUNK * 2)
    assert (await collector(own).collect(NOW)).blobs_deleted == 0
    await own[schema.BODIES].delete_one({"_id": first})
    assert (await collector(own).collect(NOW)).blobs_deleted == 0
    await own[schema.BODIES].delete_one({"_id": second})
    report = await collector(own).collect(NOW)
    assert (report.blobs_deleted, report.chunks_deleted) == (1, 1)
    assert await own[schema.BLOB_CHUNKS].count({}) == 2


async def test_a_fresh_blob_without_a_body_is_kept_for_a_day(own: Database) -> None:
    bodies = Bodies(own, clock=lambda: NOW)
    await bodies.prepare(account(), b"\r\n" + random.Random(1).randbytes(100_000))
    assert (await collector(own).collect(NOW + DAY - 1)).blobs_deleted == 0
    assert (await collector(own).collect(NOW + DAY)).blobs_deleted == 1


async def test_a_blob_touched_while_it_is_judged_is_kept(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race of rule 10: the collector saw no body, then a writer prepares one, then the collector deletes."""
    owner, content = account(), b"\r\n" + random.Random(1).randbytes(100_000)
    await Bodies(own, clock=lambda: NOW).prepare(owner, content)
    later = NOW + 2 * DAY
    prepared: list[PreparedBody] = []
    delete_one = Collection.delete_one

    async def prepare_then_delete(self: Collection, query: Document, *, session: Session | None = None) -> int:
        if self.name == schema.BLOBS and not prepared:
            prepared.append(await Bodies(own, clock=lambda: later).prepare(owner, content))
        return await delete_one(self, query, session=session)

    monkeypatch.setattr(Collection, "delete_one", prepare_then_delete)
    assert (await collector(own).collect(later)).blobs_deleted == 0
    await own[schema.BODIES].insert_one(prepared[0].document)
    assert (await collector(own).collect(later + 5 * DAY)).blobs_deleted == 0
    assert await Bodies(own).contents(owner, [prepared[0].body_id], 1) == [content]


@pytest.mark.parametrize("point", ["gc.before_delete_head", "gc.after_delete_head"])
async def test_a_collector_killed_at_a_head_leaves_nothing_behind(
    own: Database, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    owner, content = account(), b"\r\n" + random.Random(1).randbytes(CHUNK * 3)
    await Bodies(own).prepare(owner, content)
    die_at(monkeypatch, point)
    with pytest.raises(Died):
        await collector(own).collect(NOW)
    again = await Bodies(own).prepare(owner, content)  # used again in between: it must be whole
    await own[schema.BODIES].insert_one(again.document)
    assert await Bodies(own).contents(owner, [again.body_id], 1) == [content]
    await collector(own).collect(NOW)
    assert await Bodies(own).contents(owner, [again.body_id], 1) == [content]
    assert await own[schema.BLOB_CHUNKS].count({}) == 3
    await own[schema.BODIES].delete_one({"_id": again.body_id})
    await collector(own).collect(NOW)
    assert await own[schema.BLOB_CHUNKS].count({}) == 0


async def test_chunks_of_a_dead_writer_go_after_a_day(own: Database) -> None:
    plant, owner = Plant(own), account()
    await big_body(plant, owner, 1, CHUNK * 2)
    (head,) = await own[schema.BLOBS].find({})
    old, young = (NOW - 2 * DAY).to_bytes(6, "big") + bytes(10), (NOW - HOUR).to_bytes(6, "big") + bytes(10)
    for gen in (old, young):
        for number in range(2):
            document = {"_id": chunk_id(gen, number), "h": head["_id"], "d": b""}
            await own[schema.BLOB_CHUNKS].insert_one(document)
    assert (await collector(own).collect(NOW)).chunks_deleted == 2
    left = {d["_id"][:16] for d in await own[schema.BLOB_CHUNKS].find({})}
    assert left == {head["gen"], young}


async def test_rounds_are_bounded_and_go_on_where_they_were(own: Database) -> None:
    plant, owner = Plant(own), account()
    ids = [await big_body(plant, owner, seed) for seed in range(9)]
    await own[schema.BODIES].delete_many({"_id": {"$in": ids[:6]}})
    reports: list[GcReport] = []
    while sum(r.blobs_deleted for r in reports) < 6:
        reports.append(await gc_blobs.collect_heads(own, RETENTION, Limits(heads=2), NOW))
        assert len(reports) < 12
    assert all(r.blobs_deleted <= 2 for r in reports)
    assert set(ids[6:]) == await existing(own, owner)
    assert await own[schema.BLOBS].count({}) == 3


async def test_collectors_and_writers_race_without_loss(own: Database) -> None:
    """Writers use the same few contents while collectors run that leave no more time than the oldest writer at work
    needs: only rule 10's touching and conditions protect what is used."""
    ticks = 1_000_000
    at_work: dict[int, int] = {}
    contents = [b"\r\n" + random.Random(seed).randbytes(70_000) for seed in range(3)]
    kept: list[tuple[AccountId, BodyId, bytes]] = []

    def clock() -> int:
        nonlocal ticks
        ticks += 1
        return ticks

    async def writer(seed: int) -> None:
        rng, bodies = random.Random(seed), Bodies(own, clock)
        for _ in range(15):
            at_work[seed] = clock()
            owner, content = account(), rng.choice(contents)
            prepared = await bodies.prepare(owner, content)
            await own[schema.BODIES].insert_one(prepared.document)
            del at_work[seed]
            if rng.random() < 0.8:
                await own[schema.BODIES].delete_one({"_id": prepared.body_id})
            else:
                kept.append((owner, prepared.body_id, content))

    async def collect(done: Callable[[], bool]) -> int:
        deleted = 0
        while not done():
            oldest = min(at_work.values(), default=ticks)
            deleted += (await gc_blobs.collect_heads(own, Retention(grace=0), Limits(), oldest)).blobs_deleted
        return deleted

    writers = asyncio.gather(*(writer(seed) for seed in range(4)))
    collectors = asyncio.gather(*(collect(writers.done) for _ in range(2)))
    await writers
    await collectors
    for owner, body_id, content in kept:
        assert await Bodies(own).contents(owner, [body_id], 1) == [content]
    await collector(own).collect(NOW)
    assert await own[schema.BLOBS].count({}) == len({content for _, _, content in kept})


# What goes by age


async def test_tombstones_go_after_90_days_behind_the_floor(own: Database) -> None:
    plant, owner = Plant(own), account()
    inbox, other = plant.mailbox(owner), plant.mailbox(owner, "Other")
    await plant.account([inbox, other], owner)
    body_id = await plant.body(owner)
    for modseq, days in ((5, 100), (7, 91), (8, 89), (9, 1)):
        await plant.tombstone(inbox, modseq, NOW - days * DAY, [(modseq, body_id)])
    await plant.tombstone(other, 3, NOW - DAY, [(1, body_id)])
    report = await collector(own).collect(NOW)
    assert report.tombstones_pruned == 2
    floors = {d["_id"]: d["vanished_floor"] for d in await own[schema.MAILBOXES].find({"a": owner})}
    assert floors == {inbox.mailbox_id: 7, other.mailbox_id: 0}
    assert sorted(d["modseq"] for d in await own[schema.VANISHED].find({"m": inbox.mailbox_id})) == [8, 9]


async def test_the_floor_rises_before_tombstones_go(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, owner = Plant(own), account()
    inbox = plant.mailbox(owner)
    await plant.account([inbox], owner)
    await plant.tombstone(inbox, 5, NOW - 100 * DAY, [(1, await plant.body(owner))])
    seen: list[int] = []
    vanished = own[schema.VANISHED]

    async def delete_many(_query: object) -> int:
        (document,) = await own[schema.MAILBOXES].find({"_id": inbox.mailbox_id})
        seen.append(document["vanished_floor"])
        raise Died

    monkeypatch.setattr(type(vanished), "delete_many", lambda _self, query: delete_many(query))
    with pytest.raises(Died):
        await collector(own).collect(NOW)
    assert seen == [5]


async def test_a_deleted_mailbox_goes_with_its_pages_and_leaves_its_neighbours(own: Database) -> None:
    plant, owner = Plant(own), account()
    boxes = [
        plant.mailbox(owner, name, deleted_at)
        for name, deleted_at in (("A", None), ("B", NOW - 15 * DAY), ("C", NOW - DAY), ("D", None))
    ]
    bodies = {}
    for box in boxes:
        for number in range(3):
            box.pages.append(box.tail.__class__())
            bodies[box.name, number] = await plant.body(owner)
            box.row(box.pages[-1], number * 10 + 1, bodies[box.name, number], len(MESSAGE))
        bodies[box.name, 9] = await plant.body(owner)
        box.row(box.tail, 99, bodies[box.name, 9], len(MESSAGE))
        await plant.tombstone(box, 50, NOW - DAY, [(500, await plant.body(owner))])
        await own[schema.RECENT].insert_one({"_id": box.mailbox_id, "a": owner, "first": 1})
    await plant.account(boxes, owner)
    report = await collector(own, Limits(documents=4)).collect(NOW)
    assert (report.pages_deleted, report.mailboxes_deleted, report.more) == (4, 0, True)
    report = await collector(own).collect(NOW)
    assert (report.pages_deleted, report.mailboxes_deleted) == (2, 1)
    left = {d["_id"] for d in await own[schema.MAILBOXES].find({})}
    assert left == {box.mailbox_id for box in boxes if box.name != "B"}
    assert await own[schema.PAGES].count({}) == 18
    assert await own[schema.VANISHED].count({}) == 3
    assert await own[schema.RECENT].count({}) == 3
    await collector(own).collect(NOW + 2 * HOUR)
    await collector(own).collect(NOW + 2 * HOUR + DAY)
    gone = {body for key, body in bodies.items() if key[0] == "B"}
    assert not gone & await existing(own, owner)
    assert set(bodies.values()) - gone <= await existing(own, owner)


async def test_a_deleted_account_goes_altogether(own: Database) -> None:
    plant, owner, other = Plant(own), account(), account()
    for who, more in ((owner, {"deleted_at": NOW - 15 * DAY}), (other, {})):
        inbox = plant.mailbox(who)
        inbox.row(inbox.tail, 1, await big_body(plant, who, 1), 100_002)
        await plant.account([inbox], who, **more)
    for hours in (0, 1, 2, 26, 27, 60):
        await collector(own).collect(NOW + hours * HOUR)
    for name in (schema.MAILBOXES, schema.BODIES):
        assert await own[name].count({"a": owner}) == 0
        assert await own[name].count({"a": other}) == 1
    assert await own[schema.ACCOUNTS].count({}) == 1
    assert await own[schema.BLOBS].count({}) == 1  # the other account's


async def test_collectors_in_parallel_do_the_same_as_one(own: Database) -> None:
    plant = Plant(own)
    kept = set()
    owners = [account() for _ in range(6)]
    for owner in owners:
        inbox = plant.mailbox(owner)
        for uid in range(1, 4):
            body_id = await plant.body(owner)
            kept.add(body_id)
            inbox.row(inbox.tail, uid, body_id, len(MESSAGE))
            await plant.body(owner)
        await plant.account([inbox], owner, removals_at=NOW - 15 * DAY)
    for step in range(4):
        await asyncio.gather(*(collector(own, Limits(accounts=4)).collect(NOW + step * DAY) for _ in range(3)))
    assert {d["_id"] for d in await own[schema.BODIES].find({})} == kept
