"""What POP3 retrieved is removed after its days, and nothing else ever is: on a real mongod, with a clock of ours."""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.columns import U32, unpack
from mailboat_store_client.types import AccountId, MailboxId
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.store.audit import Finding, audit
from storage_api.store.committer import Committer
from storage_api.store.gc import Collector
from storage_api.store.mongo import MongoStore
from storage_api.store.retention import NEVER, REASON, RemoveRetrieved, RetentionSweep, least_retention, retention_of
from storage_api.store.retrieved import DAY_MS, Run, living, read_runs, split_due, with_uids

from tests.support.mongod import Mongod
from tests.support.planted import empty_database
from tests.support.store import check_account, fill, inbox_of, key, new_account

DOMAIN = "example.test"
START = 20_000 * DAY_MS + 3_600_000  # one o'clock


class Worker:
    """A process with a committer and a sweep of its own, all at the time `now`."""

    def __init__(self, db: Database) -> None:
        self.db, self.now = db, START
        self.store = MongoStore(db)
        self.committer = self.store.committer = Committer(db, clock=lambda: self.now)
        self.store.write._committer = self.committer
        self.sweep = RetentionSweep(db, self.committer)

    async def round(self, days: int = 0, ms: int = 0) -> None:
        """Sweep everything, so many days after START."""
        self.now = START + days * DAY_MS + ms
        while await self.sweep.run(self.now):
            pass


@pytest.fixture
async def own(mongod: Mongod) -> AsyncIterator[Database]:
    """A database that no other test writes to."""
    async with empty_database(mongod.uri, "retention") as database:
        await database[schema.DOMAINS].insert_one({"_id": DOMAIN, "created_at": 0})
        yield database


@pytest.fixture
async def worker(own: Database) -> AsyncIterator[Worker]:
    made = Worker(own)
    yield made
    await made.committer.close()


async def person(worker: Worker, messages: int = 5, days: int | None = None) -> tuple[AccountId, MailboxId]:
    """An account of DOMAIN with so many messages in INBOX."""
    account_id = await new_account(worker.db)
    fields = {"domain": DOMAIN, "address": f"{account_id.hex()}@{DOMAIN}"}
    await worker.db[schema.ACCOUNTS].update_one({"_id": account_id}, {"$set": fields})
    if days is not None:
        await set_account(worker.db, account_id, days)
    await fill(worker.store, account_id, "INBOX", messages)
    return account_id, await inbox_of(worker.store, account_id)


async def set_account(db: Database, account_id: AccountId, days: int | None) -> None:
    change = {"$unset": {"pop3_retention_days": ""}} if days is None else {"$set": {"pop3_retention_days": days}}
    await db[schema.ACCOUNTS].find_one_and_update({"_id": account_id}, change)


async def set_domain(db: Database, days: int | None) -> None:
    change = {"$unset": {"pop3_retention_days": ""}} if days is None else {"$set": {"pop3_retention_days": days}}
    await db[schema.DOMAINS].find_one_and_update({"_id": DOMAIN}, change)


async def retrieved(worker: Worker, account_id: AccountId, mailbox_id: MailboxId, *uids: int) -> None:
    await worker.store.write.record_retrieved(account_id, mailbox_id, uids, key=key())


async def left(worker: Worker, account_id: AccountId, mailbox_id: MailboxId) -> list[int]:
    contents = await check_account(worker.db, account_id)
    return contents[mailbox_id].living


# -- the record


async def test_the_first_retrieval_counts_and_days_pack_into_runs(worker: Worker) -> None:
    account_id, inbox = await person(worker, 6)
    await retrieved(worker, account_id, inbox, 1, 2, 3)
    worker.now += DAY_MS
    await retrieved(worker, account_id, inbox, 5, 3, 2, 4)
    record = await worker.db[schema.RETRIEVED].find_one({"_id": inbox})
    assert read_runs(record) == [Run(1, 3, 20_000), Run(4, 5, 20_001)]
    assert record is not None
    assert (record["a"], record["oldest"]) == (account_id, 20_000)


async def test_sessions_at_once_lose_nothing_of_each_other(worker: Worker) -> None:
    account_id, inbox = await person(worker, 200)
    other = Worker(worker.db)
    calls = [retrieved(w, account_id, inbox, uid) for uid in range(1, 201) for w in (worker, other)]
    await asyncio.gather(*calls)
    record = await worker.db[schema.RETRIEVED].find_one({"_id": inbox})
    assert read_runs(record) == [Run(1, 200, 20_000)]
    await other.committer.close()


async def test_only_messages_of_a_living_mailbox_are_recorded(worker: Worker) -> None:
    account_id, inbox = await person(worker, 2)
    with pytest.raises(Refused) as refused:
        await retrieved(worker, account_id, inbox, 1, 3)
    assert refused.value.code is RefusedCode.INVALID
    with pytest.raises(Refused) as refused:
        await retrieved(worker, account_id, MailboxId(os.urandom(16)), 1)
    assert refused.value.code is RefusedCode.NO_MAILBOX
    other, _ = await person(worker, 2)
    with pytest.raises(Refused) as refused:
        await retrieved(worker, other, inbox, 1)
    assert refused.value.code is RefusedCode.NO_MAILBOX
    assert await worker.db[schema.RETRIEVED].find({}) == []


async def test_what_can_not_be_alive_is_dropped_from_the_record(worker: Worker) -> None:
    account_id, inbox = await person(worker, 10)
    await retrieved(worker, account_id, inbox, 1, 2, 4)
    await worker.store.write.expunge(account_id, inbox, [1, 2, 3], key=key(), only_deleted=False)
    await retrieved(worker, account_id, inbox, 6)
    record = await worker.db[schema.RETRIEVED].find_one({"_id": inbox})
    assert read_runs(record) == [Run(4, 4, 20_000), Run(6, 6, 20_000)]


@given(st.lists(st.tuples(st.sets(st.integers(1, 30), max_size=12), st.integers(0, 5)), max_size=8))
def test_runs_say_what_a_dictionary_would(steps: list[tuple[set[int], int]]) -> None:
    runs: list[Run] = []
    plain: dict[int, int] = {}
    for uids, day in steps:
        runs = with_uids(runs, sorted(uids), day)
        for uid in uids:
            plain.setdefault(uid, day)
    assert {uid: run.day for run in runs for uid in range(run.first, run.last + 1)} == plain
    assert [run.first for run in runs] == sorted({run.first for run in runs})
    for limit in (1, 4, 100):
        due, rest = split_due(runs, 2, limit)
        wanted = sorted(uid for uid, day in plain.items() if day <= 2)[:limit]
        assert due == array(U32, wanted)
        kept = {uid: run.day for run in rest for uid in range(run.first, run.last + 1)}
        assert kept == {uid: day for uid, day in plain.items() if uid not in wanted}
    assert {uid for run in living(runs, 10) for uid in range(run.first, run.last + 1)} == {u for u in plain if u >= 10}


# -- the sweep


async def test_only_what_was_retrieved_goes_and_not_a_day_too_early(worker: Worker) -> None:
    account_id, inbox = await person(worker, 5, days=3)
    await retrieved(worker, account_id, inbox, 1, 3)
    await worker.round(3, DAY_MS - 3_600_001)  # a moment before midnight: nearly four days
    assert await left(worker, account_id, inbox) == [1, 2, 3, 4, 5]
    await worker.round(4)
    assert await left(worker, account_id, inbox) == [2, 4, 5]
    assert await worker.db[schema.RETRIEVED].find({}) == []
    await worker.round(400)
    assert await left(worker, account_id, inbox) == [2, 4, 5]


async def test_a_removal_is_an_expunge_that_says_why(worker: Worker) -> None:
    account_id, inbox = await person(worker, 3, days=1)
    before = await worker.store.read.head(account_id, "INBOX")
    await retrieved(worker, account_id, inbox, 2)
    await worker.round(2)
    changes = await worker.store.read.changes(account_id, inbox, before.highest_modseq)
    assert list(changes.vanished) == [2]
    (tombstone,) = await worker.db[schema.VANISHED].find({"m": inbox})
    assert (tombstone["reason"], list(unpack(U32, tombstone["u"]))) == (REASON, [2])
    found = [f async for f in audit(worker.db) if isinstance(f, Finding)]
    assert found == []
    restored = await worker.store.write.undelete(account_id, inbox, [2], "INBOX", key=key())
    await worker.round(300)
    assert await left(worker, account_id, inbox) == [1, 3, *restored.target_uids], "a new message, never retrieved"


@pytest.mark.parametrize("days", [0, 1])
async def test_no_days_are_a_day_here(worker: Worker, days: int) -> None:
    """With 0 the gateway removes at QUIT; a session that never said it gets a day to come back."""
    account_id, inbox = await person(worker, 1, days=days)
    await retrieved(worker, account_id, inbox, 1)
    await worker.round(1)
    assert await left(worker, account_id, inbox) == [1]
    await worker.round(2)
    assert await left(worker, account_id, inbox) == []


async def test_the_account_overrides_the_domain_and_unset_is_never(worker: Worker) -> None:
    people = [await person(worker, 1, days=days) for days in (None, NEVER, 30, 2)]
    for account_id, inbox in people:
        await retrieved(worker, account_id, inbox, 1)

    async def still() -> list[bool]:
        return [bool(await left(worker, *one)) for one in people]

    assert await least_retention(worker.db) == 2
    await worker.round(5)
    assert await still() == [True, True, True, False]
    await set_domain(worker.db, 10)
    assert [await retention_of(worker.db, account_id) for account_id, _ in people] == [10, None, 30, 2]
    await worker.round(10)
    assert await still() == [True, True, True, False]
    await worker.round(11)
    assert await still() == [False, True, True, False]
    await worker.round(31)
    assert await still() == [False, True, False, False]
    await worker.round(3000)
    assert await still() == [False, True, False, False]


async def test_without_any_setting_nothing_is_ever_removed(worker: Worker) -> None:
    account_id, inbox = await person(worker, 2)
    await retrieved(worker, account_id, inbox, 1, 2)
    assert await least_retention(worker.db) is None
    await worker.round(3000)
    assert await left(worker, account_id, inbox) == [1, 2]
    await set_account(worker.db, account_id, 5)  # counts from the retrieval, also if that was before the setting
    await worker.round(6)
    assert await left(worker, account_id, inbox) == []


async def test_copies_and_moves_are_other_messages(worker: Worker) -> None:
    account_id, inbox = await person(worker, 4, days=1)
    await retrieved(worker, account_id, inbox, 1, 2, 3)
    await worker.store.write.move(account_id, inbox, [1], "Archive", key=key())
    await worker.store.write.copy(account_id, inbox, [2], "Archive", key=key())
    archive = (await worker.store.read.head(account_id, "Archive")).mailbox_id
    back = await worker.store.write.move(account_id, archive, [1], "INBOX", key=key())
    await worker.round(2)
    assert await left(worker, account_id, inbox) == [4, *back.target_uids]
    assert await left(worker, account_id, archive) == [2]


async def test_rename_of_inbox_takes_messages_out_of_reach(worker: Worker) -> None:
    account_id, inbox = await person(worker, 3, days=1)
    await retrieved(worker, account_id, inbox, 1, 2, 3)
    await worker.store.write.rename(account_id, "INBOX", "Old", key=key())
    await fill(worker.store, account_id, "INBOX", 1)
    await worker.round(2)
    assert await left(worker, account_id, inbox) == [4]
    assert (await worker.store.read.head(account_id, "Old")).messages == 3
    assert await worker.db[schema.RETRIEVED].find({}) == []


async def test_a_large_mailbox_goes_in_bounded_transactions(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_api.store.retention.MAX_UIDS", 100)
    account_id, inbox = await person(worker, 650, days=1)
    await retrieved(worker, account_id, inbox, *range(1, 641))
    await worker.round(2)
    assert await left(worker, account_id, inbox) == list(range(641, 651))
    assert len(await worker.db[schema.VANISHED].find({"m": inbox})) == 7


async def test_rounds_go_through_all_mailboxes(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_api.store.retention.BATCH", 2)
    people = [await person(worker, 1, days=NEVER if n % 2 else 1) for n in range(7)]
    for account_id, inbox in people:
        await retrieved(worker, account_id, inbox, 1)
    await worker.round(2)
    assert [len(await left(worker, *one)) for one in people] == [0, 1, 0, 1, 0, 1, 0]


async def test_two_workers_at_once_remove_once(worker: Worker) -> None:
    people = [await person(worker, 300, days=1) for _ in range(4)]
    for account_id, inbox in people:
        await retrieved(worker, account_id, inbox, *range(1, 300))
    other = Worker(worker.db)
    await asyncio.gather(*(w.round(2) for w in (worker, other)))
    for account_id, inbox in people:
        assert await left(worker, account_id, inbox) == [300]
        assert len(await worker.db[schema.VANISHED].find({"m": inbox})) == 1
    await other.committer.close()


async def test_a_repeat_whose_first_answer_was_lost_has_no_second_effect(worker: Worker) -> None:
    account_id, inbox = await person(worker, 3, days=1)
    await retrieved(worker, account_id, inbox, 1)
    k, now = key(), START + 2 * DAY_MS
    first = await worker.committer.submit(RemoveRetrieved(account_id, k, inbox, now))
    await retrieved(worker, account_id, inbox, 2)
    again = await worker.committer.submit(RemoveRetrieved(account_id, k, inbox, now))
    assert first == again
    assert await left(worker, account_id, inbox) == [2, 3]


@pytest.mark.parametrize("days", [None, NEVER, 30])
async def test_a_setting_that_changed_meanwhile_holds(worker: Worker, days: int | None) -> None:
    """The sweep found the mailbox due; by the time of its transaction the days are off or more."""
    account_id, inbox = await person(worker, 1, days=1)
    await retrieved(worker, account_id, inbox, 1)
    await set_account(worker.db, account_id, days)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await worker.committer.submit(RemoveRetrieved(account_id, b"k" * 16, inbox, START + 5 * DAY_MS))
        assert refused.value.code is RefusedCode.CONFLICT
    assert await left(worker, account_id, inbox) == [1]
    await set_account(worker.db, account_id, 1)
    await worker.committer.submit(RemoveRetrieved(account_id, b"k" * 16, inbox, START + 5 * DAY_MS))
    assert await left(worker, account_id, inbox) == []


@pytest.mark.parametrize("whose", ["account", "domain"])
async def test_a_setting_changed_within_the_transaction_stops_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Between what the transaction read and its commit: it conflicts, and judges again by the new setting."""
    account_id, inbox = await person(worker, 1, days=1 if whose == "account" else None)
    await set_domain(worker.db, 1)
    await retrieved(worker, account_id, inbox, 1)
    apply, judged = RemoveRetrieved._days, []

    def told(self, ws, account):
        judged.append(account_id)
        return apply(self, ws, account)

    monkeypatch.setattr(RemoveRetrieved, "_days", told)
    bulk_write, changed = type(worker.db[schema.ACCOUNTS]).bulk_write, []

    async def slow(self, *args, **kwargs):
        if judged and not changed:
            changed.append(True)
            await (set_account(worker.db, account_id, NEVER) if whose == "account" else set_domain(worker.db, None))
        return await bulk_write(self, *args, **kwargs)

    monkeypatch.setattr(type(worker.db[schema.ACCOUNTS]), "bulk_write", slow)
    await worker.round(5)
    assert changed
    assert len(judged) >= 2, "judged again"
    assert await left(worker, account_id, inbox) == [1]


async def test_a_removed_account_and_its_record(worker: Worker) -> None:
    account_id, inbox = await person(worker, 1, days=1)
    await retrieved(worker, account_id, inbox, 1)
    deleted = {"deleted_at": START}
    await worker.db[schema.ACCOUNTS].update_one({"_id": account_id}, {"$set": deleted})
    await worker.db[schema.MAILBOXES].update_many({"a": account_id}, {"$set": deleted, "$unset": {"name": ""}})
    await worker.round(2)
    assert len(await worker.db[schema.RETRIEVED].find({})) == 1, "nothing is touched while it can be restored"
    while (await Collector(worker.db).collect(START + 15 * DAY_MS)).more:
        pass
    assert await worker.db[schema.RETRIEVED].find({}) == []
