"""The store's rules, first half (store.md, 1 to 8): each test fails when its rule is broken."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import pytest
from mailboat_common.errors import Internal, Refused, RefusedCode, Unavailable
from mailboat_store_client.types import AccountId, AppendMessage, BodyId, DeliveryStatus, FlagMode
from storage_api.db import driver, schema
from storage_api.db.driver import Collection, Database, Document, OperationFailure, Session, WriteOperation, connect
from storage_api.store.committer import Committer
from storage_api.store.messages import Append
from storage_api.store.mongo import MongoStore

from tests.support.mongod import Mongod
from tests.support.store import MESSAGE, check_account, envelope, fill, inbox_of, key, new_account

Written = list[tuple[str, list[WriteOperation]]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Every bulk write that is made."""
    seen: Written = []
    original = Collection.bulk_write

    async def spy(self: Collection, operations: Any, **options: Any) -> None:
        seen.append((self.name, list(operations)))
        await original(self, operations, **options)

    monkeypatch.setattr(Collection, "bulk_write", spy)
    return seen


def fail_writes_to(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    original = Collection.bulk_write

    async def failing(self: Collection, operations: Any, **options: Any) -> None:
        if self.name == name:
            raise OperationFailure("broken", 8000)
        await original(self, operations, **options)

    monkeypatch.setattr(Collection, "bulk_write", failing)


def commit_fails_with(monkeypatch: pytest.MonkeyPatch, *steps: tuple[bool, str | None]) -> list[int]:
    """Each commit in turn: (really commit?, label of the error raised then or None); afterwards all is normal."""
    original = Session.commit
    calls: list[int] = []

    async def scripted(self: Session) -> None:
        calls.append(1)
        if len(calls) > len(steps):
            await original(self)
            return
        really, label = steps[len(calls) - 1]
        if really:
            await original(self)
        if label is not None:
            raise OperationFailure("scripted", 91, {"errorLabels": [label]})

    monkeypatch.setattr(Session, "commit", scripted)
    return calls


UNKNOWN = "UnknownTransactionCommitResult"
TRANSIENT = "TransientTransactionError"


# Rule 1


@pytest.mark.parametrize("broken", [schema.MAILBOXES, schema.BODIES, schema.DEDUPE])
async def test_store_rule_01_a_mutation_is_one_transaction(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 40)
    before = await check_account(db, account)
    with monkeypatch.context() as patch:
        fail_writes_to(patch, broken)
        with pytest.raises(Unavailable):
            await store.write.append(account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    assert await check_account(db, account) == before
    assert await db[schema.BODIES].count({"a": account}) == 40


async def test_store_rule_01_move_changes_both_mailboxes_or_none(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 300)
    inbox = await inbox_of(store, account)
    before = await check_account(db, account)
    with monkeypatch.context() as patch:
        fail_writes_to(patch, schema.VANISHED)
        with pytest.raises(Unavailable):
            await store.write.move(account, inbox, range(1, 200), "Archive", key=key())
    assert await check_account(db, account) == before
    await store.write.move(account, inbox, range(1, 200), "Archive", key=key())
    after = await check_account(db, account)
    assert [len(contents.living) for contents in after.values() if contents.living] == [101, 199]


async def test_store_rule_01_an_entry_has_its_body_when_it_is_seen(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    big = MESSAGE + os.urandom(300_000).hex().encode()
    inbox = await inbox_of(store, account)
    done = asyncio.Event()

    async def watch() -> int:
        while True:
            last = done.is_set()
            rows = (await store.read.changes(account, inbox, 0)).changed
            ids = [rows.body_id(row) for row in range(len(rows))]
            assert all(content is not None for content in await store.read.contents(account, ids, 1 << 30))
            if last:
                return len(ids)

    watcher = asyncio.create_task(watch())
    for content in (MESSAGE, big, MESSAGE * 2):
        await store.delivery.deliver(envelope(account, content=content), content)
    done.set()
    assert await watcher == 3


# Rule 2


async def test_store_rule_02_changes_become_visible_in_order(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db)
    inbox = await inbox_of(store, account)
    done = asyncio.Event()

    async def watch() -> dict[int, int]:
        view: dict[int, int] = {}
        synced, uid_next = 0, 1
        while True:
            last = done.is_set()
            changes = await second.read.changes(account, inbox, synced)
            new = [uid for uid in changes.changed.uids if uid not in view]
            assert all(uid >= uid_next for uid in new), "a UID below a uid_next that was seen before"
            assert all(synced < modseq <= changes.head.highest_modseq for modseq in changes.changed.modseqs)
            view.update(zip(changes.changed.uids, changes.changed.flags[0], strict=True))
            for uid in changes.vanished:
                view.pop(uid, None)
            synced, uid_next = changes.head.highest_modseq, changes.head.uid_next
            if last:
                return view

    async def work(on: MongoStore) -> None:
        for turn in range(12):
            await on.delivery.deliver(envelope(account, content=os.urandom(8)), MESSAGE)
            await on.write.store_flags(account, inbox, [turn, turn + 1], FlagMode.ADD, ["\\Seen"], key=key())
            await on.write.expunge(account, inbox, [turn], key=key(), only_deleted=False)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(work(store), work(second))
    done.set()
    view = await watcher
    whole = (await store.read.changes(account, inbox, 0)).changed
    assert view == dict(zip(whole.uids, whole.flags[0], strict=True))


# Rule 3


async def test_store_rule_03_what_waits_goes_together_with_one_update_per_document(
    db: Database, store: MongoStore, written: Written
) -> None:
    accounts = [await new_account(db) for _ in range(8)]
    written.clear()
    await asyncio.gather(
        *[store.delivery.deliver(envelope(accounts[n % 8], content=os.urandom(8)), MESSAGE) for n in range(48)]
    )
    transactions = [(name, operations) for name, operations in written if name == schema.MAILBOXES]
    assert len(transactions) <= 8, "48 deliveries took a transaction each"
    for name, operations in written:
        queries: list[Any] = [_id_of(operation) for operation in operations]
        assert queries == sorted(queries), f"{name} isn't written in _id order"
        if name in (schema.MAILBOXES, schema.ACCOUNTS, schema.PAGES):
            assert len(set(queries)) == len(queries), f"{name} is written twice in one transaction"
    for account in accounts:
        await check_account(db, account)


def _id_of(operation: WriteOperation) -> Any:
    document_id = operation._filter["_id"] if hasattr(operation, "_filter") else operation._doc["_id"]
    return (document_id["a"], document_id["k"]) if isinstance(document_id, dict) else document_id


async def test_store_rule_03_a_refused_mutation_leaves_no_trace_and_hinders_nobody(
    db: Database, store: MongoStore
) -> None:
    account = await new_account(db, quota=10 * len(MESSAGE))
    await fill(store, account, "INBOX", 8)
    inbox = await inbox_of(store, account)
    store.committer._lanes = 1
    blocker = asyncio.create_task(store.write.store_flags(account, inbox, [1], FlagMode.ADD, ["\\Seen"], key=key()))
    await asyncio.sleep(0)
    full = [f"w{n}" for n in range(251)]
    results = await asyncio.gather(
        store.write.append(account, "INBOX", [AppendMessage(MESSAGE)] * 3, key=key()),
        store.write.append(account, "INBOX", [AppendMessage(MESSAGE, ("\\Flagged",))], key=key()),
        store.write.store_flags(account, inbox, [2], FlagMode.ADD, full, key=key()),
        store.write.copy(account, inbox, [1, 2, 3], "Sent", key=key()),
        store.write.create(account, "INBOX", key=key()),
        store.write.append(account, "Nowhere", [AppendMessage(MESSAGE)], key=key()),
        store.write.append(account, "INBOX", [AppendMessage(MESSAGE, ("new",))], key=key()),
        store.write.store_flags(account, inbox, [3], FlagMode.ADD, ["\\Answered"], key=key()),
        return_exceptions=True,
    )
    await blocker
    codes = [result.code if isinstance(result, Refused) else None for result in results]
    expected = (RefusedCode.OVER_QUOTA, None, RefusedCode.LIMIT, RefusedCode.OVER_QUOTA, RefusedCode.MAILBOX_EXISTS)
    assert codes == [*expected, RefusedCode.NO_MAILBOX, None, None]
    await check_account(db, account)
    changes = await store.read.changes(account, inbox, 0)
    assert (changes.head.messages, changes.head.uid_next) == (10, 11)
    assert changes.head.flag_table.keywords == ("new",)
    assert changes.head.highest_modseq == 6, "one modseq for each mutation that was done, none for a refused one"
    assert await db[schema.BODIES].count({"a": account}) == 10


async def test_store_rule_03_a_mutation_that_breaks_doesnt_take_its_siblings_along(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, other = await new_account(db), await new_account(db)
    original = Append.apply

    def broken(self: Append, ws: Any) -> Any:
        if self.account_id == account:
            original(self, ws)
            raise ZeroDivisionError
        return original(self, ws)

    monkeypatch.setattr(Append, "apply", broken)
    outcomes = await asyncio.gather(
        store.write.append(account, "INBOX", [AppendMessage(MESSAGE)], key=key()),
        store.write.append(other, "INBOX", [AppendMessage(MESSAGE)], key=key()),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], Internal)
    assert not isinstance(outcomes[1], BaseException)
    assert await db[schema.BODIES].count({"a": account}) == 0


async def test_store_rule_03_nothing_but_the_database_is_awaited_inside(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bodies are ready before the transaction begins."""
    account = await new_account(db)
    order: list[str] = []
    begin, prepare = Session.begin, store.bodies.prepare_for

    async def spy_begin(self: Session) -> None:
        order.append("begin")
        await begin(self)

    async def spy_prepare(account_ids: Any, content: bytes) -> Any:
        made = await prepare(account_ids, content)
        order.append("prepared")
        return made

    monkeypatch.setattr(Session, "begin", spy_begin)
    monkeypatch.setattr(store.bodies, "prepare_for", spy_prepare)
    await store.delivery.deliver(envelope(account), MESSAGE)
    assert order == ["prepared", "begin"]


async def test_store_rule_03_an_oversized_mutation_goes_alone_and_the_queue_is_bounded(db: Database) -> None:
    committer = Committer(db, lanes=1, max_pending=4)
    account = await new_account(db)
    bodies: list[Any] = [await MongoStore(db).bodies.prepare(account, MESSAGE) for _ in range(5)]
    sizes = [10, 10, 5 << 20, 10]
    mutations = []
    for body, size in zip(bodies, sizes, strict=False):
        mutation = Append(account, key(), "INBOX", [AppendMessage(MESSAGE)], [body])
        mutation.size = size
        mutations.append(mutation)
    waiting = [asyncio.create_task(committer.submit(mutation)) for mutation in mutations]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await committer.submit(Append(account, key(), "INBOX", [AppendMessage(MESSAGE)], [bodies[4]]))
    results = await asyncio.gather(*waiting)
    assert [result.uids for result in results] == [(1,), (2,), (3,), (4,)], "an account's mutations keep their order"
    await committer.close()
    await check_account(db, account)


# Rule 4


async def test_store_rule_04_correctness_doesnt_depend_on_affinity(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db)

    async def work(on: MongoStore) -> list[int]:
        uids = []
        for _ in range(15):
            result = await on.delivery.deliver(envelope(account, content=os.urandom(8)), MESSAGE)
            uids.append(result.recipients[0].uid)
        return uids

    one, two, three = await asyncio.gather(work(store), work(second), work(store))
    assert sorted(one + two + three) == list(range(1, 46))
    await check_account(db, account)


# Rule 5


async def test_store_rule_05_the_client_asks_for_majority_from_the_primary(db: Database) -> None:
    inner = db[schema.MAILBOXES].inner
    assert inner.read_concern.level == "majority"
    assert inner.write_concern.document == {"w": "majority", "j": True}
    assert inner.read_preference.name == "Primary"


@pytest.mark.parametrize("whole", [True, False])
async def test_store_rule_05_an_answer_comes_from_one_snapshot(
    db: Database, store: MongoStore, second: MongoStore, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """Between any two reads of an answer the mailbox is turned upside down; the answer shows one moment."""
    account = await new_account(db)
    await fill(store, account, "INBOX", 340)
    inbox = await inbox_of(store, account)
    head = await store.read.head(account, "INBOX")
    original = Collection.find
    upset: set[str] = set()

    async def upsetting(self: Collection, *args: Any, **options: Any) -> list[Document]:
        if self.name in (schema.PAGES, schema.VANISHED) and self.name not in upset:
            upset.add(self.name)
            await second.write.expunge(account, inbox, range(1, 20), key=key(), only_deleted=False)
            await fill(second, account, "INBOX", 40)
            await second.write.store_flags(account, inbox, [300], FlagMode.ADD, ["\\Seen"], key=key())
        return await original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Collection, "find", upsetting)
        changes = await store.read.changes(account, inbox, 0 if whole else head.highest_modseq - 1)
    assert upset
    assert changes.head == head, "the sync point is the head's modseq in the snapshot"
    assert list(changes.changed.uids) == list(range(1 if whole else 257, 341))
    assert (max(changes.changed.modseqs), len(changes.vanished)) == (head.highest_modseq, 0)
    later = await store.read.changes(account, inbox, changes.head.highest_modseq)
    assert list(later.vanished) == list(range(1, 20))
    assert list(later.changed.uids) == [300, *range(341, later.head.uid_next)]


async def test_store_rule_05_changes_since_reads_only_pages_that_changed(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 1300)
    inbox = await inbox_of(store, account)
    synced = (await store.read.head(account, "INBOX")).highest_modseq
    await store.write.store_flags(account, inbox, [700], FlagMode.ADD, ["\\Seen"], key=key())
    original = Collection.find
    pages_read: list[int] = []

    async def counting(self: Collection, *args: Any, **options: Any) -> list[Document]:
        found = await original(self, *args, **options)
        if self.name == schema.PAGES:
            pages_read.append(len(found))
        return found

    monkeypatch.setattr(Collection, "find", counting)
    changes = await store.read.changes(account, inbox, synced)
    assert list(changes.changed.uids) == [700]
    assert sum(pages_read) == 2, "one page is two documents"


# Rule 6


@pytest.mark.parametrize("call", ["append", "store", "expunge", "copy", "move", "create", "rename", "delete"])
async def test_store_rule_06_a_repeat_has_no_second_effect(
    db: Database, store: MongoStore, second: MongoStore, call: str
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 40)
    inbox = await inbox_of(store, account)
    await store.write.create(account, "Old", key=key())
    k = key()
    calls: dict[str, Callable[[MongoStore], Any]] = {
        "append": lambda on: on.write.append(account, "INBOX", [AppendMessage(MESSAGE)], key=k),
        "store": lambda on: on.write.store_flags(account, inbox, [1, 39], FlagMode.ADD, ["\\Seen"], key=k),
        "expunge": lambda on: on.write.expunge(account, inbox, [1, 39], key=k, only_deleted=False),
        "copy": lambda on: on.write.copy(account, inbox, [1, 39], "Sent", key=k),
        "move": lambda on: on.write.move(account, inbox, [1, 39], "Sent", key=k),
        "create": lambda on: on.write.create(account, "A/b", key=k),
        "rename": lambda on: on.write.rename(account, "Old", "New", key=k),
        "delete": lambda on: on.write.delete(account, "Old", key=k),
    }
    await asyncio.gather(calls[call](store), calls[call](second), calls[call](store))
    once = await db[schema.MAILBOXES].find({"a": account}, sort=[("_id", 1)])
    await calls[call](second)
    assert await db[schema.MAILBOXES].find({"a": account}, sort=[("_id", 1)]) == once
    await check_account(db, account)
    receipt = await db[schema.DEDUPE].find_one({"_id": {"a": account, "k": k}})
    assert receipt is not None
    left = (receipt["expires"].timestamp() - time.time()) / 3600
    assert 23.9 < left <= 24


async def test_store_rule_06_a_key_used_for_another_request_is_refused(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    k = key()
    await store.write.append(account, "INBOX", [AppendMessage(MESSAGE)], key=k)
    with pytest.raises(Refused) as refused:
        await store.write.create(account, "X", key=k)
    assert refused.value.code is RefusedCode.CONFLICT


# Rule 7

_CHILD = """
    import asyncio, sys
    from mailboat_common import crash
    from mailboat_store_client.types import AccountId, AppendMessage
    from storage_api.db.driver import connect
    from storage_api.store.mongo import MongoStore

    async def main():
        uri, database, account, point = sys.argv[1:]
        store = MongoStore(connect(uri, app="victim", database=database))
        crash.arm(point)
        print("ready", flush=True)
        await store.write.append(AccountId(bytes.fromhex(account)), "INBOX", [AppendMessage(b"x: y")] * 3, key=bytes(16))

    asyncio.run(main())
"""


async def die_in_a_commit(mongod: Mongod, database: str, account: AccountId, point: str) -> None:
    """A process of its own appends three messages and is killed (SIGKILL) at the crash point."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_CHILD), mongod.uri, database, account.hex(), point
    )
    assert await child.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "point", ["commit.before_first_write", "commit.between_writes:2", "commit.before_commit", "commit.after_commit"]
)
async def test_store_rule_07_a_mailbox_is_writable_two_seconds_after_a_kill(
    mongod: Mongod, database_name: str, db: Database, store: MongoStore, point: str
) -> None:
    account = await new_account(db)
    await die_in_a_commit(mongod, database_name, account, point)
    started = time.monotonic()
    result = await store.write.append(account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    assert time.monotonic() - started < 2.0
    committed = point == "commit.after_commit"
    assert result.uids == ((4,) if committed else (1,))
    await check_account(db, account)
    repeat = await store.write.append(account, "INBOX", [AppendMessage(b"x: y")] * 3, key=bytes(16))
    assert repeat.uids == ((1, 2, 3) if committed else (2, 3, 4)), "the caller's repeat has the effect exactly once"
    await check_account(db, account)


async def test_store_rule_07_every_process_has_an_app_name_of_its_own(mongod: Mongod, db: Database) -> None:
    async with db.session() as session:
        await session.begin()
        await db[schema.LEASES].find_one({"_id": b"nobody"}, session=session)
        found = await db.admin_aggregate(
            [{"$currentOp": {"allUsers": True, "idleSessions": True}}, {"$match": {"transaction": {"$exists": True}}}]
        )
        await session.abort()
    ours = [d["appName"] for d in found if d.get("appName", "").startswith(driver.APP_PREFIX)]
    assert ours
    other = connect(mongod.uri, app="test")
    assert other._client.options.pool_options.appname != db._client.options.pool_options.appname
    await other.close()


# Rule 8


async def test_store_rule_08_an_unknown_commit_is_committed_again(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    calls = commit_fails_with(monkeypatch, (True, UNKNOWN), (False, UNKNOWN))
    result = await store.delivery.deliver(envelope(account), MESSAGE)
    assert (result.recipients[0].status, result.recipients[0].uid) == (DeliveryStatus.FILED, 1)
    assert len(calls) == 3
    assert (await store.read.head(account, "INBOX")).messages == 1


async def test_store_rule_08_after_an_unknown_commit_the_receipts_say_what_happened(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    commit_fails_with(monkeypatch, (True, UNKNOWN), (False, TRANSIENT))
    result = await store.write.append(account, "INBOX", [AppendMessage(MESSAGE)], key=key())
    assert result.uids == (1,)
    assert (await store.read.head(account, "INBOX")).messages == 1


async def test_store_rule_08_a_transient_error_runs_the_whole_batch_again(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [await new_account(db) for _ in range(5)]
    commit_fails_with(monkeypatch, (False, TRANSIENT), (False, TRANSIENT))
    await asyncio.gather(*[store.delivery.deliver(envelope(account), MESSAGE) for account in accounts])
    for account in accounts:
        assert (await store.read.head(account, "INBOX")).messages == 1
        await check_account(db, account)


async def test_store_rule_08_the_deadline_is_the_calls(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    body = await store.bodies.prepare(account, MESSAGE)
    commit_fails_with(monkeypatch, *[(False, TRANSIENT)] * 1000)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await store.committer.submit(Append(account, key(), "INBOX", [AppendMessage(MESSAGE)], [body]), seconds=0.3)
    assert time.monotonic() - started < 3
    monkeypatch.undo()
    assert await store.read.contents(account, [BodyId(body.body_id)], 1) == [None]
    await check_account(db, account)


async def test_store_rule_08_a_caller_that_goes_away_stops_no_batch(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it was refused, or gave up, isn't done behind its back when MongoDB answers again."""
    accounts = [await new_account(db) for _ in range(4)]
    tasks = [asyncio.create_task(store.delivery.deliver(envelope(a), MESSAGE)) for a in accounts]
    begun = asyncio.Event()
    begin = Session.begin

    async def spy(self: Session) -> None:
        begun.set()
        await begin(self)

    monkeypatch.setattr(Session, "begin", spy)
    await begun.wait()
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(not isinstance(result, BaseException) for result in results[1:])
    assert [(await store.read.head(account, "INBOX")).messages for account in accounts] == [0, 1, 1, 1]
    for account in accounts:
        await check_account(db, account)
