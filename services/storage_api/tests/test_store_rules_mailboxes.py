"""The store's rules, second half (store.md, 9 to 16): each test fails when its rule is broken."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_store_client.types import AppendMessage, DeliveryStatus, FlagMode, MailboxId
from storage_api.db import schema
from storage_api.db.driver import Collection, Database, Session
from storage_api.store import write
from storage_api.store.compaction import Compact, compact_due, groups
from storage_api.store.mongo import MongoStore
from storage_api.store.pages import PageRef, page_id_range, unpack_directory

from tests.support.store import MESSAGE, check_account, envelope, fill, inbox_of, key, new_account


async def page_documents(db: Database, mailbox_id: MailboxId) -> list[dict[str, Any]]:
    first, last = page_id_range(mailbox_id)
    return await db[schema.PAGES].find({"_id": {"$gte": first, "$lte": last}}, sort=[("_id", 1)])


# Rule 9


async def test_store_rule_09_expunge_sets_a_dead_bit_and_leaves_the_immutable_page_alone(
    db: Database, store: MongoStore
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 288)
    inbox = await inbox_of(store, account)
    before = await page_documents(db, inbox)
    await store.write.store_flags(account, inbox, [3, 300], FlagMode.ADD, ["\\Seen", "\\Deleted"], key=key())
    delta = await store.write.expunge(account, inbox, None, key=key())
    assert list(delta.vanished) == [3]
    after = await page_documents(db, inbox)
    assert after[0] == before[0], "immutable columns are written only when rows are added"
    assert after[1]["f"] != before[1]["f"]
    tombstones = await db[schema.VANISHED].find({"m": inbox})
    assert [(t["modseq"], t["reason"]) for t in tombstones] == [(delta.modseq_after, "expunge")]
    await check_account(db, account)


async def test_store_rule_09_compaction_is_one_transaction_and_changes_no_modseq(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 256 * 5 + 40)
    inbox = await inbox_of(store, account)
    synced = (await store.read.head(account, "INBOX")).highest_modseq
    doomed = [uid for uid in range(1, 256 * 5) if uid % 4 and not 512 < uid <= 768]
    await store.write.expunge(account, inbox, doomed, key=key(), only_deleted=False)
    await store.write.store_flags(account, inbox, [512, 513, 1300], FlagMode.ADD, ["\\Seen", "kw"], key=key())
    whole = await store.read.changes(account, inbox, 0)
    partial = await store.read.changes(account, inbox, synced)
    assert len(await page_documents(db, inbox)) == 12
    assert await second.committer.submit(Compact(account, inbox)) == len(doomed)
    assert len(await page_documents(db, inbox)) == 6, "two merged, one untouched, two merged with what came after"
    await check_account(db, account)
    assert await store.read.changes(account, inbox, 0) == whole
    again = await store.read.changes(account, inbox, synced)
    assert (again.vanished, again.changed, again.head) == (partial.vanished, partial.changed, partial.head)
    assert await db[schema.MAILBOXES].count({"compact_at": {"$exists": True}, "a": account}) == 0
    await fill(store, account, "INBOX", 300)
    await store.write.expunge(account, inbox, None, key=key(), only_deleted=False)
    while await compact_due(db, store.committer, time.time_ns() // 1_000_000 + 1000):
        pass  # other tests' mailboxes are due as well
    assert await page_documents(db, inbox) == []
    await fill(store, account, "INBOX", 40)
    await check_account(db, account)


async def test_store_rule_09_compaction_meets_mutations(db: Database, store: MongoStore, second: MongoStore) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 600)
    inbox = await inbox_of(store, account)

    async def expunge() -> None:
        for start in range(1, 560, 70):
            await store.write.expunge(account, inbox, range(start, start + 60), key=key(), only_deleted=False)
            await store.write.store_flags(account, inbox, [start + 65, 599], FlagMode.ADD, ["\\Seen"], key=key())

    async def compact() -> None:
        while not worker_done.is_set():
            await compact_due(db, second.committer, time.time_ns() // 1_000_000 + 1000)

    worker_done = asyncio.Event()
    compactor = asyncio.create_task(compact())
    await expunge()
    worker_done.set()
    await compactor
    contents = (await check_account(db, account))[inbox]
    assert len(contents.living) == 600 - 8 * 60


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ([(256, 0), (256, 128)], []),
        ([(256, 129)], [[0]]),
        ([(256, 0), (256, 200), (256, 0)], [[1]]),
        ([(256, 200), (256, 200), (256, 200), (256, 0)], [[0, 1, 2]]),
        ([(100, 0), (256, 200), (100, 0)], [[0, 1, 2]]),
        ([(256, 256), (256, 0), (32, 32)], [[0], [2]]),
    ],
)
def test_store_rule_09_what_is_compacted(directory: list[tuple[int, int]], expected: list[list[int]]) -> None:
    refs = [PageRef(number, 1 + 256 * number, rows, dead) for number, (rows, dead) in enumerate(directory)]
    assert groups(refs) == expected


# Rule 10 (the use of a body again; collection itself is tested beside the collectors)


@pytest.mark.parametrize("how", ["copy", "move", "undelete"])
async def test_store_rule_10_using_a_body_again_unmarks_it_in_the_same_transaction(
    db: Database, store: MongoStore, how: str
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 3)
    inbox = await inbox_of(store, account)
    if how == "undelete":
        await store.write.expunge(account, inbox, [2], key=key(), only_deleted=False)
    await db[schema.BODIES].update_many({"a": account}, {"$set": {"dead_since": 1}})
    call = {"copy": store.write.copy, "move": store.write.move, "undelete": store.write.undelete}[how]
    result = await call(account, inbox, [2], "Archive", key=key())
    assert result.source_uids == (2,)
    archive = await store.read.head(account, "Archive")
    rows = (await store.read.changes(account, archive.mailbox_id, 0)).changed
    marked = {d["_id"] for d in await db[schema.BODIES].find({"a": account, "dead_since": 1})}
    assert len(marked) == 2
    assert rows.body_id(0) not in marked


async def test_store_rule_10_undelete_restores_once_with_flags_and_dates(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    await store.write.append(account, "INBOX", [AppendMessage(MESSAGE, ("kw", "\\Flagged"), 77_000)], key=key())
    await fill(store, account, "INBOX", 40)
    inbox = await inbox_of(store, account)
    await store.write.expunge(account, inbox, [1, 2, 41], key=key(), only_deleted=False)
    await store.write.move(account, inbox, [3], "Archive", key=key())
    restored = await store.write.undelete(account, inbox, [1, 3, 41], "INBOX", key=key())
    assert (restored.source_uids, restored.target_uids) == ((1, 41), (42, 43)), "what was moved isn't lost"
    changes = await store.read.changes(account, inbox, 0)
    row = list(changes.changed.uids).index(42)
    assert changes.head.flag_table.names(changes.changed.words(row)) == ["\\Flagged", "kw"]
    assert changes.changed.internal_dates[row] == 77_000
    assert (await store.write.undelete(account, inbox, [1, 41], "INBOX", key=key())).target_uids == ()
    await check_account(db, account)


# Rule 11


async def test_store_rule_11_keywords_keep_their_bits_and_end_at_250(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 40)
    inbox = await inbox_of(store, account)
    names = [f"k{number}" for number in range(250)]
    for start in range(0, 250, 50):
        await store.write.store_flags(account, inbox, [1, 40], FlagMode.ADD, names[start : start + 50], key=key())
    await store.write.store_flags(account, inbox, [1, 40], FlagMode.REPLACE, [], key=key())
    with pytest.raises(Refused) as refused:
        await store.write.store_flags(account, inbox, [1], FlagMode.ADD, ["one-more"], key=key())
    assert refused.value.code is RefusedCode.LIMIT
    await store.write.store_flags(account, inbox, [1, 40], FlagMode.ADD, ["K249", "k0", "k60"], key=key())
    changes = await store.read.changes(account, inbox, 0)
    assert changes.head.flag_table.keywords == tuple(names)
    assert changes.head.flag_table.full
    for row in (0, 39):
        assert changes.changed.words(row) == (1, 1 << 2, 0, 1 << 63)
    await check_account(db, account)


async def test_store_rule_11_copy_and_move_map_keywords_by_name(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    await store.write.append(account, "Archive", [AppendMessage(MESSAGE, ("b", "x", "y"))], key=key())
    await store.write.append(account, "INBOX", [AppendMessage(MESSAGE, ("a", "B", "\\Seen"))] * 40, key=key())
    inbox = await inbox_of(store, account)
    await store.write.copy(account, inbox, range(1, 40), "Archive", key=key())
    await store.write.move(account, inbox, [40], "Archive", key=key())
    archive = (await store.read.head(account, "Archive")).mailbox_id
    changes = await store.read.changes(account, archive, 0)
    assert changes.head.flag_table.keywords == ("b", "x", "y", "a")
    table = changes.head.flag_table
    assert {frozenset(table.names(changes.changed.words(row))) for row in range(1, 41)} == {
        frozenset({"\\Seen", "a", "b"})
    }
    await check_account(db, account)


# Rule 12


async def test_store_rule_12_recent_is_no_flag_and_no_modseq(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 5)
    inbox = await inbox_of(store, account)
    before = await store.read.head(account, "INBOX")
    mailbox = await db[schema.MAILBOXES].find_one({"_id": inbox})
    claims = await asyncio.gather(*[on.write.claim_recent(account, inbox) for on in (store, second, store, second)])
    assert sorted(claims) == [1, 6, 6, 6], "each message is recent to exactly one session"
    after = await store.read.head(account, "INBOX")
    assert after.highest_modseq == before.highest_modseq
    assert (before.first_recent, after.first_recent) == (1, 6)
    assert await db[schema.MAILBOXES].find_one({"_id": inbox}) == mailbox
    with pytest.raises(Refused):
        await store.write.store_flags(account, inbox, [1], FlagMode.ADD, ["\\Recent"], key=key())


# Rule 13


async def test_store_rule_13_uid_validity_never_comes_back(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    seen = []
    for _ in range(4):
        head = await store.write.create(account, "Again", key=key())
        seen.append(head.uid_validity)
        await store.write.delete(account, "Again", key=key())
    assert seen == sorted(set(seen))
    document = await db[schema.ACCOUNTS].find_one({"_id": account})
    assert document is not None
    assert document["last_uid_validity"] == seen[-1]


async def test_store_rule_13_changes_of_the_tree_serialise(db: Database, store: MongoStore, second: MongoStore) -> None:
    """A child made while its parent is deleted or renamed: one of the two comes first."""
    for turn in range(6):
        account = await new_account(db)
        await store.write.create(account, "P", key=key())
        version = (await store.read.tree(account)).version
        other = (
            store.write.delete(account, "P", key=key())
            if turn % 2
            else store.write.rename(account, "P", "Q", key=key())
        )
        results = await asyncio.gather(
            second.write.create(account, "P/child", key=key()), other, return_exceptions=True
        )
        tree = await store.read.tree(account)
        names = {mailbox.name for mailbox in tree.mailboxes}
        for name in names:
            parent = name.rpartition("/")[0]
            assert not parent or parent in names, f"{name} has lost its parent"
        done = sum(1 for result in results if not isinstance(result, BaseException))
        assert tree.version >= version + done


async def test_store_rule_13_rename_of_inbox_moves_all_in_one_transaction(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 300)
    inbox = await inbox_of(store, account)
    commits: list[int] = []
    original = Session.commit

    async def counting(self: Session) -> None:
        commits.append(1)
        await original(self)

    monkeypatch.setattr(Session, "commit", counting)
    await store.write.rename(account, "INBOX", "Old/2026", key=key())
    assert len(commits) == 1
    head = await store.read.head(account, "INBOX")
    assert (head.mailbox_id, head.messages, head.uid_next) == (inbox, 0, 301)
    assert (await store.read.head(account, "Old/2026")).messages == 300
    await check_account(db, account)


async def test_store_rule_13_delivery_to_a_deleted_mailbox_goes_to_inbox(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db)
    await store.write.create(account, "lists", key=key())
    mail = [envelope(account, content=bytes([number])) for number in range(10)]
    mail = [_tagged(one, "lists") for one in mail]
    outcomes = await asyncio.gather(
        *[second.delivery.deliver(one, MESSAGE) for one in mail[:5]],
        store.write.delete(account, "lists", key=key()),
        *[store.delivery.deliver(one, MESSAGE) for one in mail[5:]],
    )
    results = [outcome.recipients[0] for outcome in outcomes if outcome is not None]
    assert {result.status for result in results} == {DeliveryStatus.FILED}
    after = await store.delivery.deliver(_tagged(envelope(account), "lists"), MESSAGE)
    assert after.recipients[0].mailbox_id == await inbox_of(store, account)
    await check_account(db, account)


def _tagged(mail: Any, mailbox: str) -> Any:
    return replace(mail, recipients=tuple(replace(r, mailbox=mailbox) for r in mail.recipients))


# Rule 14


async def test_store_rule_14_the_commit_decides_about_quota(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db, quota=10 * len(MESSAGE))
    outcomes = await asyncio.gather(
        *[
            on.delivery.deliver(envelope(account, content=bytes([number])), MESSAGE)
            for number, on in enumerate([store, second] * 8)
        ]
    )
    statuses = [outcome.recipients[0].status for outcome in outcomes]
    assert statuses.count(DeliveryStatus.FILED) == 10
    assert statuses.count(DeliveryStatus.OVER_QUOTA) == 6
    await check_account(db, account)
    inbox = await inbox_of(store, account)
    await store.write.expunge(account, inbox, [1, 2], key=key(), only_deleted=False)
    again = await store.delivery.deliver(envelope(account, content=b"again"), MESSAGE)
    assert again.recipients[0].status is DeliveryStatus.FILED


# Rule 15


async def test_store_rule_15_copy_is_one_transaction_and_a_large_move_or_store_is_split(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "PART_UIDS", 300)
    account = await new_account(db)
    await fill(store, account, "INBOX", 1000)
    inbox = await inbox_of(store, account)
    head = await store.read.head(account, "INBOX")
    copied = await store.write.copy(account, inbox, range(1, 1001), "Sent", key=key())
    assert copied.target.modseq_after == copied.target.modseq_before + 1
    k = key()
    stored = await store.write.store_flags(account, inbox, range(1, 1001), FlagMode.ADD, ["\\Seen"], key=k)
    assert stored.delta.modseq_before == head.highest_modseq
    assert stored.delta.modseq_after == head.highest_modseq + 4, "each part has a modseq of its own"
    assert len(stored.delta.changed) == 1000
    again = await store.write.store_flags(account, inbox, range(1, 1001), FlagMode.ADD, ["\\Seen"], key=k)
    assert len(again.delta.changed) == 0
    moved = await store.write.move(account, inbox, range(1, 1001), "Archive", key=key())
    assert moved.target_uids == tuple(range(1, 1001))
    assert moved.source is not None
    assert moved.source.modseq_after == stored.delta.modseq_after + 4
    await check_account(db, account)


async def test_store_rule_15_a_large_move_that_died_half_way_is_continued_by_its_repeat(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "PART_UIDS", 100)
    account = await new_account(db)
    await fill(store, account, "INBOX", 250)
    inbox = await inbox_of(store, account)
    k = key()
    submit, calls = store.committer.submit, []

    async def dying(mutation: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ConnectionError
        return await submit(mutation, **options)

    with monkeypatch.context() as patch:
        patch.setattr(store.committer, "submit", dying)
        with pytest.raises(ConnectionError):
            await store.write.move(account, inbox, range(1, 251), "Archive", key=k)
    assert (await store.read.head(account, "Archive")).messages == 100
    moved = await store.write.move(account, inbox, range(1, 251), "Archive", key=k)
    assert moved.source_uids == tuple(range(1, 251))
    assert (await store.read.head(account, "Archive")).messages == 250
    await check_account(db, account)


# Rule 16


async def test_store_rule_16_every_document_and_unique_key_has_its_account(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    await fill(store, account, "INBOX", 300)
    inbox = await inbox_of(store, account)
    await store.delivery.deliver(envelope(account), MESSAGE)
    await store.write.move(account, inbox, [1, 2], "Sent", key=key())
    await store.write.claim_recent(account, inbox)
    await store.write.lease_maildrop(account, "pod", 60)
    await store.write.annotate(account, "INBOX", {"/private/comment": b"x"}, key=key())
    for name in (schema.MAILBOXES, schema.PAGES, schema.VANISHED, schema.BODIES, schema.RECENT, schema.ANNOTATIONS):
        without = await db[name].count({"a": {"$exists": False}})
        assert (without, await db[name].count({"a": account}) > 0) == (0, True), name
    assert await db[schema.DEDUPE].count({"_id.a": account}) >= 3
    for name in (schema.ACCOUNTS, schema.LEASES):
        assert await db[name].count({"_id": account}) == 1
    for name, indexes in schema.INDEXES.items():
        for index in indexes:
            if index.document.get("unique"):
                assert next(iter(index.document["key"])) == "a", name


async def test_a_page_is_rewritten_only_when_the_tail_is_full(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await new_account(db)
    inbox = await inbox_of(store, account)
    written: list[str] = []
    original = Collection.bulk_write

    async def spy(self: Collection, operations: Any, **options: Any) -> None:
        written.append(self.name)
        await original(self, operations, **options)

    monkeypatch.setattr(Collection, "bulk_write", spy)
    for number in range(100):
        await store.delivery.deliver(envelope(account, content=bytes([number])), MESSAGE)
    assert written.count(schema.PAGES) == 3
    mailbox = await db[schema.MAILBOXES].find_one({"_id": inbox})
    assert mailbox is not None
    assert [(ref.rows, ref.dead) for ref in unpack_directory(mailbox["pages"])] == [(96, 0)]
    await check_account(db, account)
