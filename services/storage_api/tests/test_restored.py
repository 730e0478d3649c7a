"""After a backup was put back: what is held, what is raised, what is refused meanwhile, and that it may die anywhere."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mailboat_common.errors import Unavailable
from mailboat_common.ids import decode_id, encode_id, trace_id
from mailboat_store_client.queue import AttemptReport, Outcome, RecipientReport
from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient
from storage_api.assembly import jobs, now_ms
from storage_api.db import schema
from storage_api.db.driver import Document
from storage_api.feed.relay import Relay
from storage_api.feed.worker import Feeds
from storage_api.queue.documents import job_of
from storage_api.queue.notice_sender import QueueNotice
from storage_api.restored import restore_job
from storage_api.restored.restore_job import UID_JUMP, RestoreJob, first_validity
from storage_api.restored.restores import JUMP
from storage_api.store.audit import audit
from storage_api.store.mailboxes import MAX_MAILBOXES

from tests.support.mongod import Mongod
from tests.support.rest import World, opened
from tests.support.store import MESSAGE, envelope, fill, key, new_account

BACKUP = "2026-11-26T03:00:00Z"
REASON = "restored from a backup of 2026-11-26 03:00:00Z"
Numbers = dict[bytes, Document]


@pytest.fixture
async def restored(mongod: Mongod, tmp_path: Path) -> AsyncIterator[World]:
    """The application over a database of its own: a restore concerns everything in it."""
    async with opened(mongod, f"restored_{uuid.uuid4().hex}", tmp_path) as made:
        yield made


def job_of_worker(world: World) -> RestoreJob:
    """The worker's job, which doesn't wait for other processes."""
    return RestoreJob(world.core.db, world.core.restores, world.core.hooks, settle_ms=0)


async def begin(world: World, label: str = "one", status: int = 202, **more: object) -> Document:
    answered, body = await world.call("POST", "/restored", {"label": label, "backup_time": BACKUP, **more})
    assert answered == status, body
    return dict(body)


async def work_off(world: World) -> None:
    job = job_of_worker(world)
    while await job.run(now_ms()):
        pass


async def numbers(world: World, collection: str) -> Numbers:
    return {document["_id"]: document for document in await world.core.db[collection].find({})}


async def submit(world: World, account_id: AccountId, *domains: str) -> list[Document]:
    """The documents of a submission."""
    recipients = tuple(EnvelopeRecipient(f"x@{domain}", NO_ACCOUNT) for domain in domains)
    mail = Envelope(trace_id(), "a@example.test", recipients, os.urandom(32), account_id=account_id)
    await world.core.mongo.delivery.deliver(mail, MESSAGE)
    return await world.core.db[schema.QUEUE].find({"t": mail.trace_id}, sort=[("domain", 1)])


async def test_every_number_is_raised_above_what_may_have_been_given_out(restored: World) -> None:
    store, db = restored.core.mongo, restored.core.db
    accounts = [await new_account(db) for _ in range(3)]
    await fill(store, accounts[0], "INBOX", 300)
    await store.write.create(accounts[1], "gone", key=key())
    await store.write.delete(accounts[1], "gone", key=key())
    mailboxes, before = await numbers(restored, schema.MAILBOXES), await numbers(restored, schema.ACCOUNTS)

    await begin(restored)
    await work_off(restored)

    raised = await numbers(restored, schema.MAILBOXES)
    assert raised.keys() == mailboxes.keys()
    for mailbox_id, then in mailboxes.items():
        now = raised[mailbox_id]
        assert now["uid_validity"] > max(then["uid_validity"], now_ms() // 1000)
        assert now["uid_next"] == then["uid_next"] + UID_JUMP
        assert now["highest_modseq"] == then["highest_modseq"] + JUMP
        assert now["first_uid_validity"] == then["uid_validity"]
    for account_id, account in (await numbers(restored, schema.ACCOUNTS)).items():
        validities = [each["uid_validity"] for each in raised.values() if each["a"] == account_id]
        assert len(set(validities)) == len(validities)
        assert account["last_uid_validity"] >= max(validities)
        assert account["seq"] == before[account_id].get("seq", 0) + JUMP
        assert account["tree_version"] == before[account_id]["tree_version"] + JUMP

    head = await store.write.create(accounts[0], "after", key=key())
    assert head.uid_validity > max(each["uid_validity"] for each in raised.values() if each["a"] == accounts[0])
    (filed,) = (await store.delivery.deliver(envelope(accounts[0]), MESSAGE)).recipients
    assert filed.uid == 301 + UID_JUMP
    assert [found.line() async for found in audit(db)][:-1] == []
    status, shown = await restored.call("GET", "/restored/one")
    assert (status, shown["state"], shown["phase"]) == (200, "done", "")
    assert (shown["total"], shown["accounts"], shown["mailboxes"]) == (3, 3, len(mailboxes))


def test_a_validity_is_above_a_burst_of_mailboxes_made_since_the_backup() -> None:
    account, mailbox = {"last_uid_validity": 1_000}, {"uid_validity": 1_007}
    assert first_validity(account, [mailbox], 500_000) == 1_008 + MAX_MAILBOXES
    assert first_validity(account, [mailbox], 5_000_000) == 5_000 + MAX_MAILBOXES


async def test_until_it_is_done_nothing_is_changed_or_claimed(restored: World) -> None:
    store, db = restored.core.mongo, restored.core.db
    account_id = await new_account(db)
    (queued,) = await submit(restored, account_id, "far.example")
    await begin(restored)
    job = job_of_worker(restored)
    with pytest.raises(Unavailable):
        await store.delivery.deliver(envelope(account_id), MESSAGE)
    with pytest.raises(Unavailable):
        await store.queue.claim([job_of(queued)], "worker", max_bytes=0, key=os.urandom(16))
    assert (await store.read.head(account_id, "INBOX")).messages == 0, "reading goes on"
    feeds = Feeds(db, restored.core.bus, restored.core.stream, restored.core.settings, now_ms)
    for other in jobs(restored.core, feeds)[1:]:
        assert not await other.run(now_ms()), other.name
    await feeds.close()
    assert await db[schema.OUTBOX].count({}) == 1, "and nothing is relayed"
    while await job.run(now_ms()):
        pass
    assert not restored.core.restores.running
    (filed,) = (await store.delivery.deliver(envelope(account_id), MESSAGE)).recipients
    assert filed.status.name == "FILED"


async def test_it_begins_when_every_process_knows(restored: World) -> None:
    await new_account(restored.core.db)
    asked = await begin(restored)
    job = RestoreJob(restored.core.db, restored.core.restores, restored.core.hooks)
    assert not await job.run(asked["asked_at"] + restore_job.SETTLE_MS - 1)
    assert await job.run(asked["asked_at"] + restore_job.SETTLE_MS)


async def test_the_queue_is_held_with_its_reason_until_it_is_released(
    restored: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore_job, "QUEUE_AT_ONCE", 2)
    store, db = restored.core.mongo, restored.core.db
    account_id = await new_account(db)
    ready, claimed, held = await submit(restored, account_id, "a.example", "b.example", "c.example")
    (claim,) = await store.queue.claim([job_of(claimed)], "worker", max_bytes=0, key=os.urandom(16))
    assert claim is not None
    ids = [encode_id(each["_id"]) for each in (ready, claimed, held)]
    assert (await restored.call("POST", "/queue:hold", {"ids": ids[2:]}))[1] == {"changed": 1}
    await begin(restored)
    await work_off(restored)

    items = (await restored.call("GET", "/queue"))[1]["items"]
    assert [(item["id"], item["state"], item["why"]) for item in items] == [(i, "held", f"held: {REASON}") for i in ids]
    assert (await restored.call("GET", "/restored/one"))[1]["queue"] == 3
    for document in (ready, claimed, held):
        assert await store.queue.claim([job_of(document)], "worker", max_bytes=0, key=os.urandom(16)) == [None]

    late = RecipientReport(claimed["recipients"][0]["address"], Outcome.DEFERRED, "4.2.0", "450 4.2.0 Later")
    assert await store.queue.report([AttemptReport(claim.queue_id, claim.token, (late,))]) == [True]
    assert (await restored.call("GET", f"/queue/{ids[1]}"))[1]["state"] == "held", "its worker's report counts"

    assert (await restored.call("POST", "/queue:release", {"domain": "a.example"}))[1] == {"changed": 1}
    shown = (await restored.call("GET", f"/queue/{ids[0]}"))[1]
    assert (shown["state"], shown["why"]) == ("ready", "waits for its first attempt")
    assert (await restored.call("POST", "/queue:release", {"all": True}))[1] == {"changed": 2}
    fresh = await db[schema.QUEUE].find({"state": "ready"})
    assert all(await store.queue.claim([job_of(each) for each in fresh], "worker", max_bytes=0, key=os.urandom(16)))


async def test_a_notice_for_elsewhere_is_held_too(restored: World) -> None:
    db = restored.core.db
    notice = {"_id": trace_id(), "at": now_ms(), "due": 0, "kind": "failure", "about": trace_id()}
    notice |= {"recipient": "s@elsewhere.example", "smtputf8": False, "content": MESSAGE}
    await db[schema.NOTICES].insert_one(notice)
    await begin(restored)
    await work_off(restored)
    (found,) = await db[schema.NOTICES].find({})
    await restored.core.mongo.committer.submit(QueueNotice(found))
    (queued,) = await db[schema.QUEUE].find({"t": notice["_id"]})
    assert (queued["state"], queued["hold_reason"], "due" in queued) == ("held", REASON, False)
    assert (await restored.call("GET", "/restored/one"))[1]["notices"] == 1


async def test_readers_of_the_stream_are_told_and_meet_no_position_twice(restored: World) -> None:
    store, db, stream = restored.core.mongo, restored.core.db, restored.core.stream
    account_id = await new_account(db)

    async def deliver() -> None:
        content = MESSAGE + os.urandom(4).hex().encode()
        await store.delivery.deliver(envelope(account_id, content=content), content)
        await Relay(db).run(0)

    for _ in range(3):
        await deliver()
    await begin(restored)
    await work_off(restored)
    page = await stream.after(3, 10)
    assert (page.lost, page.events) == (True, ()), "who is at the edge may have missed something"
    await deliver()
    page = await stream.after(1, 10)
    assert (page.lost, [event.position for event in page.events]) == (False, [2, 3])
    for position in (3, 4, 500):
        page = await stream.after(position, 10)
        assert (page.lost, [event.position for event in page.events]) == (True, [4 + JUMP])
        assert page.events[0].seq == 4 + JUMP
    assert not (await stream.after(4 + JUMP, 10)).lost
    status, answer = await restored.call("GET", "/events", after=500)
    assert (status, answer["lost"], answer["next"]) == (200, True, 4 + JUMP)
    await Relay(db).prune(now_ms(), keep_ms=60_000, keep_events=4)
    assert len((await stream.after(0, 10)).events) == 3, "skipped positions don't count as events"
    await Relay(db).prune(now_ms(), keep_ms=60_000, keep_events=2)
    assert [event.position for event in (await stream.after(0, 10)).events] == [3]


async def test_one_at_a_time_once_unless_asked_again(restored: World) -> None:
    await new_account(restored.core.db)
    first = await begin(restored, "one/two")
    assert (await begin(restored, "one/two"))["asked_at"] == first["asked_at"], "asked again it is the same one"
    assert "under way" in (await begin(restored, "other", 409))["detail"]
    await work_off(restored)
    before = await numbers(restored, schema.MAILBOXES)
    assert "again" in (await begin(restored, "one/two", 409))["detail"]
    assert await numbers(restored, schema.MAILBOXES) == before
    assert (await begin(restored, "one/two", again=True))["runs"] == 2
    await work_off(restored)
    after = await numbers(restored, schema.MAILBOXES)
    assert all(after[each]["uid_validity"] > before[each]["uid_validity"] for each in before)
    assert all(after[each]["first_uid_validity"] == before[each]["first_uid_validity"] for each in before)
    (account_id,) = await numbers(restored, schema.ACCOUNTS)
    head = await restored.core.mongo.read.head(AccountId(account_id), "INBOX")
    assert head.first_uid_validity == after[head.mailbox_id]["first_uid_validity"]
    await begin(restored, "other")
    labels = [item["label"] for item in (await restored.call("GET", "/restored"))[1]["items"]]
    assert labels == ["one/two", "other"]
    assert (await restored.call("GET", "/restored/one%2Ftwo"))[1]["state"] == "done"
    assert (await restored.call("GET", "/restored/unknown"))[0] == 404
    future = {"label": "x", "backup_time": str(now_ms() + 60_000)}
    assert (await restored.call("POST", "/restored", future))[0] == 400
    assert (await restored.call("POST", "/restored", {"label": "", "backup_time": BACKUP}))[0] == 422
    assert [entry["target"] for entry in await restored.audited("restored")][-1] == "other"


async def test_two_that_announce_at_once_announce_one(restored: World) -> None:
    await asyncio.gather(*(begin(restored) for _ in range(4)))
    head = await restored.core.stream.head()
    assert head.gaps == ((1, 1 + JUMP),)


@pytest.mark.parametrize("point", ["restore.before_commit", "restore.after_commit", "restore.held"])
async def test_whatever_dies_and_whoever_helps_each_account_is_raised_once(
    restored: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    db = restored.core.db
    for _ in range(7):
        await new_account(db)
    monkeypatch.setattr(restore_job, "ACCOUNTS_AT_ONCE", 3)
    monkeypatch.setattr(restore_job, "MAILBOXES_AT_ONCE", 8)
    before = await numbers(restored, schema.MAILBOXES)
    deaths = iter([False, True, False])

    def die(name: str) -> None:
        if name == point and next(deaths, False):
            raise SystemExit

    monkeypatch.setattr("mailboat_common.crash.point", die)
    await begin(restored)
    with pytest.raises(SystemExit):
        await work_off(restored) if point != "restore.held" else await die_twice(restored)
    await asyncio.gather(work_off(restored), work_off(restored))
    after = await numbers(restored, schema.MAILBOXES)
    assert {each["uid_next"] - before[i]["uid_next"] for i, each in after.items()} == {UID_JUMP}
    shown = (await restored.call("GET", "/restored/one"))[1]
    assert (shown["state"], shown["accounts"], shown["mailboxes"]) == ("done", 7, len(before))


async def die_twice(world: World) -> None:
    """The queue's phase is one round here; it is done again by each who doesn't get to note it."""
    job = job_of_worker(world)
    (document,) = await world.core.db[schema.RESTORES].find({})
    for _ in range(2):
        await job._hold_queue(document, now_ms())


def test_ids_of_accounts_are_what_pages_go_by() -> None:
    assert decode_id(encode_id(b"\0" * 16)) > b"", "no account's id is before the first page's beginning"
