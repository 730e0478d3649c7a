"""The audit finds every planted fault, and nothing in a store that only worked, however busy it was."""

from __future__ import annotations

import asyncio
import os
import random
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.types import (
    DEAD,
    AccountId,
    AppendMessage,
    Columns,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    FlagMode,
    MailboxId,
)
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.store.accounts import default_mailboxes, new_account_document
from storage_api.store.audit import Finding, FindingKind, Summary, audit
from storage_api.store.blobs import now_ms
from storage_api.store.deliver import receipt_key
from storage_api.store.mongo import MongoStore
from storage_api.store.pages import (
    PageRef,
    pack_directory,
    pack_tail,
    page_id,
    page_id_range,
    unpack_directory,
    unpack_tail,
)

from tests.support.mongod import Mongod
from tests.support.planted import empty_database

BIG = b"Subject: big\r\n\r\n" + random.Random(1).randbytes(1_200_000)


@pytest.fixture
async def own(mongod: Mongod) -> AsyncIterator[Database]:
    """A database that no other test writes to: an audit looks at all of it."""
    async with empty_database(mongod.uri, "audit") as database:
        yield database


@pytest.fixture
async def store(own: Database) -> AsyncIterator[MongoStore]:
    """The store on it."""
    made = MongoStore(own)
    yield made
    await made.committer.close()


def key() -> bytes:
    return os.urandom(16)


def message(number: int = 0) -> bytes:
    return b"Subject: %d\r\nMessage-ID: <%d@example.test>\r\n\r\nHello.\r\n" % (number, number)


async def new_account(db: Database) -> AccountId:
    account_id = AccountId(uuid7())
    mailboxes = default_mailboxes(account_id, now_ms())
    await db[schema.MAILBOXES].insert_many(mailboxes)
    await db[schema.ACCOUNTS].insert_one(new_account_document(account_id, mailboxes))
    return account_id


def envelope(account_id: AccountId, **more: object) -> Envelope:
    recipient = EnvelopeRecipient("alice@example.test", account_id)
    made = Envelope(trace_id(), "bob@elsewhere.example", (recipient,), os.urandom(32))
    return replace(made, **more)  # type: ignore[arg-type]  # a test names the fields it sets


async def everything(db: Database, *, deep: bool = False, now: int | None = None) -> tuple[list[Finding], Summary]:
    """All findings, and the summary an audit must end with."""
    found = [item async for item in audit(db, deep=deep, now=now)]
    *findings, summary = found
    assert isinstance(summary, Summary)
    out = [finding for finding in findings if isinstance(finding, Finding)]
    assert summary.findings == len(out) == len(findings)
    return out, summary


@dataclass(slots=True)
class World:
    """An account with a page and a tail in INBOX, something removed, something moved, something large."""

    db: Database
    store: MongoStore
    account_id: AccountId
    inbox: MailboxId

    async def mailbox(self) -> Document:
        document = await self.db[schema.MAILBOXES].find_one({"_id": self.inbox})
        assert document is not None
        return document

    async def set(self, **fields: object) -> None:
        """Overwrite fields of INBOX's document."""
        await self.db[schema.MAILBOXES].update_one({"_id": self.inbox}, {"$set": fields})

    async def tail(self, change: Callable[[Columns], None]) -> None:
        columns = unpack_tail((await self.mailbox())["tail"])
        change(columns)
        await self.set(tail=pack_tail(columns))

    async def directory(self, change: Callable[[list[PageRef]], None]) -> None:
        refs = unpack_directory((await self.mailbox())["pages"])
        change(refs)
        await self.set(pages=pack_directory(refs))

    async def page(self, kind: bytes, change: Callable[[Document], None]) -> None:
        """Change a document of INBOX's first page."""
        low, high = page_id_range(self.inbox)
        found = await self.db[schema.PAGES].find({"_id": {"$gte": low, "$lte": high}}, sort=[("_id", 1)])
        query = {"_id": next(d["_id"] for d in found if d["_id"].endswith(kind))}
        document = await self.db[schema.PAGES].find_one(query)
        assert document is not None
        change(document)
        await self.db[schema.PAGES].replace_one(query, document)


async def make_world(db: Database, store: MongoStore) -> World:
    account_id = await new_account(db)
    write = store.write
    messages = [AppendMessage(message(n), flags=("$Work",) if n % 3 else ()) for n in range(60)]
    await write.append(account_id, "INBOX", messages, key=key())
    inbox = (await store.read.head(account_id, "INBOX")).mailbox_id
    await write.append(account_id, "INBOX", [AppendMessage(BIG)], key=key())
    await write.store_flags(account_id, inbox, [3, 4, 61], FlagMode.ADD, ["\\Deleted", "\\Seen"], key=key())
    await write.expunge(account_id, inbox, [3, 4], key=key())
    await write.move(account_id, inbox, [5, 6], "Archive", key=key())
    await write.copy(account_id, inbox, [7, 8], "INBOX", key=key())
    first = envelope(account_id)
    await store.delivery.deliver(first, message(100))
    again = await store.delivery.deliver(replace(first, trace_id=trace_id()), message(100))
    assert again.recipients[0].status is DeliveryStatus.DUPLICATE
    await write.create(account_id, "Old", key=key())
    await write.copy(account_id, inbox, [9], "Old", key=key())
    await write.delete(account_id, "Old", key=key())
    return World(db, store, account_id, inbox)


@pytest.fixture
async def world(own: Database, store: MongoStore) -> World:
    """A store that is all right."""
    return await make_world(own, store)


async def test_a_store_that_only_worked_has_no_findings(world: World) -> None:
    findings, summary = await everything(world.db, deep=True)
    assert findings == []
    assert (summary.accounts, summary.duplicates, summary.queued) == (1, 1, 0)
    assert summary.mailboxes == 7
    # 61 appended, 2 moved (twice: append and move filed them), 2 + 1 copied, 1 delivered
    assert (summary.visible, summary.removed) == (61 - 4 + 2 + 2 + 1, 4 + 1)
    assert summary.receipts == 2 + 1 + 2 + 2
    assert summary.line()["summary"]["entries"] == summary.entries == 63


# One planted fault each


async def lose_a_tail_row(world: World) -> None:
    def drop(columns: Columns) -> None:
        for column in (columns.uids, columns.modseqs, *columns.flags, columns.internal_dates, columns.save_dates):
            column.pop()
        columns.sizes.pop()
        columns.body_ids = columns.body_ids[:-16]

    await world.tail(drop)


async def lose_a_page(world: World) -> None:
    low, high = page_id_range(world.inbox)
    await world.db[schema.PAGES].delete_many({"_id": {"$gte": low, "$lte": high}})


async def lose_half_a_page(world: World) -> None:
    low, high = page_id_range(world.inbox)
    (first, *_) = await world.db[schema.PAGES].find({"_id": {"$gte": low, "$lte": high}}, sort=[("_id", 1)])
    await world.db[schema.PAGES].delete_one({"_id": first["_id"]})


async def shorten_half_a_page(world: World) -> None:
    await world.page(b"m", lambda d: d.update(q=d["q"][:-8]))


async def orphan_a_page(world: World) -> None:
    document = {"_id": page_id(world.inbox, 9999, b"m"), "a": world.account_id, "m": world.inbox, "max_modseq": 1}
    await world.db[schema.PAGES].insert_one(document)


async def page_of_no_mailbox(world: World) -> None:
    nowhere = MailboxId(uuid7())
    await world.db[schema.PAGES].insert_one({"_id": page_id(nowhere, 1, b"i"), "a": world.account_id, "m": nowhere})


async def mailbox_of_no_account(world: World) -> None:
    for document in default_mailboxes(AccountId(uuid7()), now_ms())[:1]:
        await world.db[schema.MAILBOXES].insert_one(document)


async def swap_uids(world: World) -> None:
    def swap(document: Document) -> None:
        uids = array("I", document["u"])
        uids[10], uids[11] = uids[11], uids[10]
        document["u"] = uids.tobytes()

    await world.page(b"i", swap)


def change_ref(**fields: int) -> Callable[[World], Awaitable[None]]:
    async def plant(world: World) -> None:
        await world.directory(lambda refs: refs.__setitem__(0, replace(refs[0], **fields)))

    return plant


def change_mailbox(**fields: object) -> Callable[[World], Awaitable[None]]:
    async def plant(world: World) -> None:
        await world.set(**fields)

    return plant


def add_to_mailbox(**fields: int) -> Callable[[World], Awaitable[None]]:
    async def plant(world: World) -> None:
        await world.db[schema.MAILBOXES].update_one({"_id": world.inbox}, {"$inc": fields})

    return plant


def add_to_account(**fields: int) -> Callable[[World], Awaitable[None]]:
    async def plant(world: World) -> None:
        increments = {name.replace("__", "."): amount for name, amount in fields.items()}
        await world.db[schema.ACCOUNTS].update_one({"_id": world.account_id}, {"$inc": increments})

    return plant


async def dead_row_in_tail(world: World) -> None:
    await world.tail(lambda columns: columns.flags[0].__setitem__(0, columns.flags[0][0] | DEAD))


async def unknown_keyword(world: World) -> None:
    await world.tail(lambda columns: columns.flags[0].__setitem__(0, columns.flags[0][0] | 1 << 40))


async def wrong_max_modseq(world: World) -> None:
    await world.page(b"m", lambda d: d.update(max_modseq=1))


async def modseq_from_the_future(world: World) -> None:
    await world.tail(lambda columns: columns.modseqs.__setitem__(-1, 10**6))


async def forget_tombstones(world: World) -> None:
    await world.db[schema.VANISHED].delete_many({"m": world.inbox, "reason": "expunge"})


async def bury_a_living_one(world: World) -> None:
    document = await world.db[schema.VANISHED].find_one({"m": world.inbox, "reason": "expunge"})
    assert document is not None
    document |= {"_id": world.inbox + bytes(10), "u": array("I", [10]).tobytes()}
    await world.db[schema.VANISHED].insert_one(document)


async def bury_twice(world: World) -> None:
    document = await world.db[schema.VANISHED].find_one({"m": world.inbox, "reason": "expunge"})
    assert document is not None
    await world.db[schema.VANISHED].insert_one({**document, "_id": world.inbox + bytes(10)})


async def lose_a_small_body(world: World) -> None:
    await world.db[schema.BODIES].delete_one({"a": world.account_id, "blobs": {"$exists": False}})


async def lose_a_head(world: World) -> None:
    await world.db[schema.BLOBS].delete_many({})


async def lose_a_chunk(world: World) -> None:
    await world.db[schema.BLOB_CHUNKS].delete_one({})


async def resize_a_body(world: World) -> None:
    await world.db[schema.BODIES].update_one({"blobs": {"$exists": False}}, {"$inc": {"size": 1}})


async def rot_a_chunk(world: World) -> None:
    chunks = await world.db[schema.BLOB_CHUNKS].find({}, sort=[("_id", 1)])
    changed = chunks[0]["d"][:5000] + bytes([chunks[0]["d"][5000] ^ 1]) + chunks[0]["d"][5001:]
    await world.db[schema.BLOB_CHUNKS].update_one({"_id": chunks[0]["_id"]}, {"$set": {"d": changed}})


async def deliver_twice(world: World) -> None:
    """The receipt of the first filing was lost, so the repeat filed it again."""
    sent = envelope(world.account_id)
    await world.store.delivery.deliver(sent, message(7))
    await world.store.delivery.confirm(sent.trace_id)
    await world.db[schema.DEDUPE].delete_one({"_id": {"a": world.account_id, "k": receipt_key(sent.trace_id)}})
    await world.store.delivery.deliver(sent, message(7))


async def two_receipts_of_one_transaction(world: World) -> None:
    sent = envelope(world.account_id)
    await world.store.delivery.deliver(sent, message(7))
    receipt_id = {"a": world.account_id, "k": receipt_key(sent.trace_id)}
    receipt = await world.db[schema.DEDUPE].find_one({"_id": receipt_id})
    assert receipt is not None
    other = await world.db[schema.DEDUPE].find_one({"kind": "deliver", "r.status": "filed"})
    assert other is not None
    receipt["r"]["u"] = other["r"]["u"]
    await world.db[schema.DEDUPE].insert_one({**receipt, "_id": {"a": world.account_id, "k": b"another"}})


async def duplicate_of_nothing(world: World) -> None:
    receipt = await world.db[schema.DEDUPE].find_one({"kind": "deliver", "r.status": "duplicate"})
    assert receipt is not None
    await world.db[schema.DEDUPE].update_one({"_id": receipt["_id"]}, {"$set": {"r.of": trace_id()}})


async def accepted_without_parts(world: World) -> None:
    await world.db[schema.ACCEPTED].insert_one({"_id": trace_id(), "size": 5, "pending": [], "next_attempt": now_ms()})


async def accepted_and_forgotten(world: World) -> None:
    trace = trace_id()
    await world.db[schema.ACCEPTED_PARTS].insert_one({"_id": {"t": trace, "i": 0}, "data": b"12345", "at": 1})
    pending = [{"address": "a@example.test", "a": world.account_id, "mailbox": None}]
    await world.db[schema.ACCEPTED].insert_one({"_id": trace, "size": 5, "pending": pending, "next_attempt": 1})


async def a_notice_nobody_sends(world: World) -> None:
    await world.db[schema.NOTICES].insert_one({"_id": trace_id(), "about": trace_id(), "due": 1, "content": b""})


K = FindingKind
FAULTS: list[tuple[Callable[[World], Awaitable[None]], set[FindingKind]]] = [
    (lose_a_tail_row, {K.LOST_MESSAGE, K.WRONG_COUNTER}),
    (lose_a_page, {K.MISSING_PAGE, K.LOST_MESSAGE, K.WRONG_COUNTER}),
    (lose_half_a_page, {K.MISSING_PAGE, K.LOST_MESSAGE, K.WRONG_COUNTER}),
    (shorten_half_a_page, {K.DAMAGED_PAGE, K.LOST_MESSAGE, K.WRONG_COUNTER}),
    (orphan_a_page, {K.ORPHAN_PAGE}),
    (page_of_no_mailbox, {K.ORPHAN_PAGE}),
    (mailbox_of_no_account, {K.ORPHAN_MAILBOX}),
    (swap_uids, {K.UIDS_OUT_OF_ORDER}),
    (change_ref(rows=7), {K.WRONG_DIRECTORY}),
    (change_ref(dead=0), {K.WRONG_DIRECTORY}),
    (change_ref(first_uid=9), {K.WRONG_DIRECTORY}),
    (change_mailbox(uid_next=20), {K.UID_TOO_HIGH}),
    (change_mailbox(highest_modseq=2), {K.MODSEQ_TOO_HIGH, K.WRONG_MAX_MODSEQ}),
    (change_mailbox(tail=b"garbage"), {K.DAMAGED_MAILBOX, K.ORPHAN_PAGE, K.LOST_MESSAGE, K.WRONG_COUNTER}),
    (change_mailbox(keywords=["a", "A"]), {K.BAD_KEYWORD_TABLE}),
    (add_to_mailbox(messages=1), {K.WRONG_COUNTER, K.WRONG_USAGE}),
    (add_to_mailbox(unseen=1), {K.WRONG_COUNTER}),
    (add_to_mailbox(deleted=-1), {K.WRONG_COUNTER}),
    (add_to_mailbox(size=-1), {K.WRONG_COUNTER, K.WRONG_USAGE}),
    (add_to_account(usage__bytes=1), {K.WRONG_USAGE}),
    (add_to_account(usage__messages=-1), {K.WRONG_USAGE}),
    (add_to_account(mailbox_count=1), {K.WRONG_USAGE}),
    (dead_row_in_tail, {K.BAD_TAIL, K.WRONG_COUNTER, K.REMOVED_WITHOUT_TOMBSTONE, K.LOST_MESSAGE}),
    (unknown_keyword, {K.UNKNOWN_KEYWORD}),
    (wrong_max_modseq, {K.WRONG_MAX_MODSEQ}),
    (modseq_from_the_future, {K.MODSEQ_TOO_HIGH}),
    (forget_tombstones, {K.REMOVED_WITHOUT_TOMBSTONE, K.LOST_MESSAGE}),
    (bury_a_living_one, {K.VANISHED_AND_PRESENT}),
    (bury_twice, {K.VANISHED_TWICE}),
    (lose_a_small_body, {K.MISSING_BODY}),
    (lose_a_head, {K.DAMAGED_BODY}),
    (lose_a_chunk, {K.DAMAGED_BODY}),
    (resize_a_body, {K.DAMAGED_BODY}),
    (deliver_twice, {K.UNCLAIMED_ENTRY}),
    (two_receipts_of_one_transaction, {K.DOUBLE_MESSAGE}),
    (duplicate_of_nothing, {K.LOST_MESSAGE}),
    (accepted_without_parts, {K.ACCEPTED_WITHOUT_CONTENT}),
    (accepted_and_forgotten, {K.ACCEPTED_STUCK}),
    (a_notice_nobody_sends, {K.NOTICE_STUCK}),
]


@pytest.mark.parametrize(("plant", "expected"), FAULTS)
async def test_a_planted_fault_is_found(
    world: World, plant: Callable[[World], Awaitable[None]], expected: set[FindingKind]
) -> None:
    await plant(world)
    findings, _ = await everything(world.db)
    assert {finding.kind for finding in findings} == expected
    for finding in findings:
        line = finding.line()
        assert line["finding"] == finding.kind.value
        assert line["detail"]


OF_THE_QUEUE = {K.QUEUED_WITHOUT_CONTENT, K.QUEUE_STUCK, K.DAMAGED_QUEUE, K.UNTOLD_FAILURE}
"""Planted in test_audit_queue.py."""


async def test_every_kind_of_fault_is_planted_somewhere() -> None:
    assert set().union(OF_THE_QUEUE, *(kinds for _, kinds in FAULTS)) == set(FindingKind)


async def test_rotten_content_is_found_by_reading_deep(world: World) -> None:
    await rot_a_chunk(world)
    assert (await everything(world.db))[0] == []
    findings, _ = await everything(world.db, deep=True)
    assert [finding.kind for finding in findings] == [K.DAMAGED_BODY]


async def test_accepted_recipients_count_as_queued(world: World) -> None:
    trace = trace_id()
    await world.db[schema.ACCEPTED_PARTS].insert_one({"_id": {"t": trace, "i": 0}, "data": b"12345", "at": 1})
    pending = [{"address": f"{n}@example.test", "a": world.account_id, "mailbox": None} for n in range(3)]
    document = {"_id": trace, "size": 5, "pending": pending, "next_attempt": now_ms()}
    await world.db[schema.ACCEPTED].insert_one(document)
    findings, summary = await everything(world.db)
    assert (findings, summary.queued) == ([], 3)


async def test_old_entries_need_no_receipt(world: World) -> None:
    """Receipts are gone after a day, and with them the question who filed what."""
    await world.db[schema.DEDUPE].delete_many({})
    assert {finding.kind for finding in (await everything(world.db))[0]} == {K.UNCLAIMED_ENTRY}
    assert (await everything(world.db, now=now_ms() + 24 * 3_600_000))[0] == []


async def test_inbox_renamed_away_is_no_loss(world: World) -> None:
    await world.store.write.rename(world.account_id, "INBOX", "Before", key=key())
    findings, _ = await everything(world.db)
    assert findings == []


async def replace_one(world: World, rng: random.Random, content: bytes) -> None:
    """REPLACE of a message of INBOX, if another writer leaves it there."""
    uid, target = rng.randint(1, 140), rng.choice(("INBOX", "Archive"))
    try:
        await world.store.write.replace(world.account_id, world.inbox, uid, target, AppendMessage(content), key=key())
    except Refused as refused:
        assert refused.code is RefusedCode.NO_MESSAGE


async def test_a_busy_store_makes_no_false_finding(own: Database, store: MongoStore) -> None:
    """Writers on two accounts append, deliver, flag, copy, move, replace, expunge, create and delete while audits run."""
    second = MongoStore(own)
    worlds = [await make_world(own, s) for s in (store, second)]
    found: list[Finding] = []
    audits = 0

    async def writer(world: World, seed: int) -> None:
        rng, write, account_id = random.Random(seed), world.store.write, world.account_id
        for turn in range(25):
            uids = rng.sample(range(1, 140), 8)
            await write.append(account_id, "INBOX", [AppendMessage(message(turn))] * rng.randint(1, 9), key=key())
            await world.store.delivery.deliver(envelope(account_id), message(turn))
            await write.store_flags(account_id, world.inbox, uids, FlagMode.ADD, ["\\Deleted"], key=key())
            if turn % 3 == 0:
                await write.move(account_id, world.inbox, uids[:4], "Archive", key=key())
                await write.copy(account_id, world.inbox, uids[4:], "Junk", key=key())
            if turn % 2 == 0:
                await replace_one(world, rng, message(turn))
            if turn % 4 == 0:
                await write.expunge(account_id, world.inbox, None, key=key())
            if turn % 7 == 0:
                name = f"Box{seed}-{turn}"
                await write.create(account_id, name, key=key())
                await write.copy(account_id, world.inbox, uids, name, key=key())
                await write.delete(account_id, name, key=key())

    writers = asyncio.gather(*(writer(world, n * 10 + k) for n, world in enumerate(worlds) for k in range(2)))
    while not writers.done():
        findings, _ = await everything(own, deep=audits % 2 == 1)
        found += findings
        audits += 1
    await writers
    findings, summary = await everything(own, deep=True)
    assert found + findings == []
    assert audits > 2
    assert summary.visible > 100
    await second.committer.close()
