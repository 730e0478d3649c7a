"""Deliveries that take more than one transaction, and what a dead process leaves of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from mailboat_common.ids import trace_id
from mailboat_store_client.types import AccountId, DeliveryStatus, Envelope
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.store.hooks import Hooks, TraceEvent
from storage_api.store.mongo import MongoStore

from tests.support.mongod import Mongod
from tests.support.store import MESSAGE, check_account, envelope, fill, new_account


@pytest.fixture
async def trace() -> list[TraceEvent]:
    return []


@pytest.fixture
async def store(db: Database, trace: list[TraceEvent]) -> AsyncIterator[MongoStore]:
    made = MongoStore(db, Hooks(on_trace=trace.extend))
    yield made
    await made.committer.close()


def later() -> int:
    """A time at which everything is due."""
    return time.time_ns() // 1_000_000 + 3_600_000


async def messages_of(db: Database, account: AccountId) -> int:
    return sum(len(contents.living) for contents in (await check_account(db, account)).values())


async def many(db: Database, count: int) -> list[AccountId]:
    return [await new_account(db) for _ in range(count)]


async def test_recipients_that_fit_go_in_one_transaction_without_an_accepted_document(
    db: Database, store: MongoStore, trace: list[TraceEvent]
) -> None:
    accounts = await many(db, 5)
    mail = envelope(*accounts, *accounts[:2])
    result = await store.delivery.deliver(mail, MESSAGE)
    assert [r.status for r in result.recipients] == [DeliveryStatus.FILED] * 7
    assert await db[schema.ACCEPTED_PARTS].count({"_id.t": mail.trace_id}) == 0
    assert [e.account_id for e in trace if e.kind != "filed"] == [None], "that it was received"
    assert sorted(e.account_id or b"" for e in trace if e.kind == "filed") == sorted(accounts)
    for account in accounts:
        assert await messages_of(db, account) == 1


async def test_more_recipients_than_a_transaction_are_all_filed_and_nothing_is_left(
    db: Database, store: MongoStore
) -> None:
    accounts = await many(db, 70)
    poor = await new_account(db, quota=1)
    gone = AccountId(bytes(16))
    mail = envelope(*accounts, poor, gone)
    result = await store.delivery.deliver(mail, MESSAGE)
    assert [r.status for r in result.recipients[:70]] == [DeliveryStatus.FILED] * 70
    assert [r.status for r in result.recipients[70:]] == [DeliveryStatus.OVER_QUOTA, DeliveryStatus.GONE]
    assert await db[schema.ACCEPTED].find_one({"_id": mail.trace_id}) is None
    assert await db[schema.ACCEPTED_PARTS].count({"_id.t": mail.trace_id}) == 0
    repeat = await store.delivery.deliver(mail, MESSAGE)
    assert [r.status for r in repeat.recipients[:70]] == [DeliveryStatus.FILED] * 70
    assert [r.status for r in repeat.recipients[70:]] == [DeliveryStatus.OVER_QUOTA, DeliveryStatus.GONE]
    await db[schema.ACCOUNTS].update_one({"_id": poor}, {"$set": {"quota_bytes": 0}})
    again = await store.delivery.deliver(_again(mail), MESSAGE)
    assert [r.status for r in again.recipients[:70]] == [DeliveryStatus.DUPLICATE] * 70
    assert again.recipients[70].status is DeliveryStatus.FILED, "who was refused is no duplicate of nothing"
    for account in (accounts[0], accounts[69]):
        assert await messages_of(db, account) == 1
    assert await db[schema.ACCEPTED].find_one({"_id": mail.trace_id}) is None


_CHILD = """
    import asyncio, sys
    from mailboat_common import crash
    from mailboat_store_client.types import AccountId, Envelope, EnvelopeRecipient
    from storage_api.db.driver import connect
    from storage_api.store import delivery
    from storage_api.store.mongo import MongoStore

    async def main():
        uri, database, trace, sha, size, point, *accounts = sys.argv[1:]
        store = MongoStore(connect(uri, app="victim", database=database))
        recipients = tuple(EnvelopeRecipient(f"{a}@example.test", AccountId(bytes.fromhex(a))) for a in accounts)
        mail = Envelope(trace, "s@elsewhere.example", recipients, bytes.fromhex(sha))
        crash.arm(point)
        delivery.MAX_ITEMS = 2
        await store.delivery.deliver(mail, b"x" * int(size))

    asyncio.run(main())
"""


@pytest.mark.parametrize(
    "death",
    [
        ("deliver.before_accepted", False),
        ("accept.before_commit", False),
        ("deliver.after_accepted", True),
        ("deliver.before_commit:1", True),
        ("deliver.after_commit:1", True),
        ("deliver.after_commit:2", True),
    ],
)
async def test_a_process_killed_between_accepted_and_filed_loses_and_doubles_nothing(
    mongod: Mongod, database_name: str, db: Database, store: MongoStore, death: tuple[str, bool]
) -> None:
    point, kept = death
    accounts = await many(db, 3)
    content = b"x" * 600_000
    mail = envelope(*accounts, content=content)
    arguments = (mongod.uri, database_name, mail.trace_id, mail.content_sha256.hex(), str(len(content)), point)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_CHILD), *arguments, *[account.hex() for account in accounts]
    )
    assert await child.wait() == -signal.SIGKILL
    assert (await db[schema.ACCEPTED].find_one({"_id": mail.trace_id}) is not None) is kept
    # The sender, whose connection died with the process, offers the message again before the sweep comes.
    again = envelope(*accounts, content=content)
    offered = await store.delivery.deliver(again, content)
    expected = DeliveryStatus.DUPLICATE if kept else DeliveryStatus.FILED
    assert {r.status for r in offered.recipients} == {expected}
    await store.delivery.confirm(again.trace_id)
    await asyncio.gather(store.delivery.sweep_accepted(later()), store.delivery.sweep_accepted(later()))
    await store.delivery.sweep_accepted(later() + 60_000)
    for account in accounts:
        assert await messages_of(db, account) == 1
    assert await db[schema.ACCEPTED].find_one({"_id": mail.trace_id}) is None
    assert await db[schema.ACCEPTED_PARTS].count({"_id.t": mail.trace_id, "at": {"$gt": 0}}) == (not kept) * (
        point == "accept.before_commit"
    )


async def test_a_recipient_that_is_over_quota_waits_in_the_accepted_document(
    mongod: Mongod, database_name: str, db: Database, store: MongoStore
) -> None:
    accounts = [*await many(db, 2), await new_account(db, quota=600_050)]
    content = b"x" * 600_000
    mail = envelope(*accounts, content=content)
    arguments = (mongod.uri, database_name, mail.trace_id, mail.content_sha256.hex(), str(len(content)))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(_CHILD), *arguments, "deliver.after_accepted"),
        *[account.hex() for account in accounts],
    )
    await child.wait()
    await fill(store, accounts[2], "INBOX", 1)
    await store.delivery.sweep_accepted(later())
    left = await db[schema.ACCEPTED].find_one({"_id": mail.trace_id})
    assert left is not None
    assert [r["a"] for r in left["pending"]] == [accounts[2]]
    await db[schema.ACCOUNTS].update_one({"_id": accounts[2]}, {"$set": {"quota_bytes": 0}})
    await store.delivery.sweep_accepted(later() + 60_000)
    assert await messages_of(db, accounts[2]) == 2
    assert await db[schema.ACCEPTED].find_one({"_id": mail.trace_id}) is None


async def test_an_account_disabled_after_the_250_still_gets_the_message(
    mongod: Mongod, database_name: str, db: Database, store: MongoStore
) -> None:
    accounts = [*await many(db, 2), await new_account(db)]
    mail = envelope(*accounts, content=b"x" * 600_000)
    arguments = (mongod.uri, database_name, mail.trace_id, mail.content_sha256.hex(), str(600_000))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(_CHILD), *arguments, "deliver.after_accepted"),
        *[account.hex() for account in accounts],
    )
    await child.wait()
    await db[schema.ACCOUNTS].update_one({"_id": accounts[2]}, {"$set": {"disabled": True}})
    await store.delivery.sweep_accepted(later())
    assert [await messages_of(db, account) for account in accounts] == [1, 1, 1]
    assert await db[schema.ACCEPTED].find_one({"_id": mail.trace_id}) is None


async def test_duplicate_keys_are_per_content_reverse_path_and_recipient(db: Database, store: MongoStore) -> None:
    account, other = await many(db, 2)
    first = envelope(account)
    await store.delivery.deliver(first, MESSAGE)
    for mail in (envelope(account, content=b"other"), envelope(account, reverse_path=""), envelope(other)):
        assert (await store.delivery.deliver(mail, MESSAGE)).recipients[0].status is DeliveryStatus.FILED
    repeat = (await store.delivery.deliver(envelope(account, other), MESSAGE)).recipients
    assert [r.status for r in repeat] == [DeliveryStatus.DUPLICATE] * 2
    assert repeat[0].duplicate_of == first.trace_id


async def test_a_duplicate_key_ends_after_an_hour_even_if_it_is_still_there(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    await store.delivery.deliver(envelope(account), MESSAGE)
    clock = time.time_ns() // 1_000_000 + 3_601_000
    late = MongoStore(db)
    late.committer._clock = lambda: clock
    assert (await late.delivery.deliver(envelope(account), MESSAGE)).recipients[0].status is DeliveryStatus.FILED
    assert (await late.delivery.deliver(envelope(account), MESSAGE)).recipients[0].status is DeliveryStatus.DUPLICATE
    await late.committer.close()


async def test_many_confirmations_go_together(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    mail = [envelope(account, content=os.urandom(4)) for _ in range(20)]
    await asyncio.gather(*[store.delivery.deliver(one, MESSAGE) for one in mail])
    query = {"_id.a": account, "trace": {"$exists": True}}
    assert await db[schema.DEDUPE].count(query) == 20
    repeats = await asyncio.gather(*[store.delivery.deliver(_again(one), MESSAGE) for one in mail])
    assert {r.recipients[0].status for r in repeats} == {DeliveryStatus.DUPLICATE}
    await asyncio.gather(*[store.delivery.confirm([one.trace_id]) for one in mail])
    repeats = await asyncio.gather(*[store.delivery.deliver(_again(one), MESSAGE) for one in mail])
    assert {r.recipients[0].status for r in repeats} == {DeliveryStatus.FILED}


def _again(mail: Envelope) -> Envelope:
    """The same message in another transaction."""
    return replace(mail, trace_id=trace_id())


async def test_postmaster_is_never_over_quota(db: Database, store: MongoStore) -> None:
    account = await new_account(db, quota=1)
    mail = envelope(account)
    mail = replace(mail, recipients=(replace(mail.recipients[0], address="Postmaster@example.test"),))
    assert (await store.delivery.deliver(mail, MESSAGE)).recipients[0].status is DeliveryStatus.FILED


async def test_a_disabled_account_is_gone_for_mail(db: Database, store: MongoStore, trace: list[TraceEvent]) -> None:
    account = await new_account(db)
    await db[schema.ACCOUNTS].update_one({"_id": account}, {"$set": {"disabled": True}})
    result = await store.delivery.deliver(envelope(account), MESSAGE)
    assert result.recipients[0].status is DeliveryStatus.GONE
    assert [event.kind for event in trace] == ["gone", "received"]


async def test_a_message_of_several_parts_is_kept_whole(
    db: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage_api.store.delivery.PART_BYTES", 1000)
    account = await new_account(db)
    content = os.urandom(4500)
    mail = envelope(account, content=content)
    await store.delivery._keep_content(mail.trace_id, content)
    await store.delivery._keep_content(mail.trace_id, content)
    assert await store.delivery._content({"_id": mail.trace_id, "size": 4500}) == content
