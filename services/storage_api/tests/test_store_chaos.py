"""Several processes mutate one account at random, some are killed in the middle; what was answered is kept, once."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mailboat_store_client.types import AccountId, AppendMessage, BodyId, MailboxId
from storage_api.db import schema
from storage_api.db.driver import Database, connect
from storage_api.store.mongo import MongoStore

from tests.support.hammer import MAILBOXES, hammer, message, tag_of
from tests.support.mongod import Mongod
from tests.support.store import check_account, inbox_of, key, new_account

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def stores(mongod: Mongod, database_name: str, db: Database) -> AsyncIterator[list[MongoStore]]:
    made = [MongoStore(connect(mongod.uri, app="chaos", database=database_name)) for _ in range(2)]
    yield made
    for store in made:
        await store.close()


async def watch(store: MongoStore, account: AccountId, mailbox: MailboxId, done: asyncio.Event) -> dict[int, int]:
    """A view kept current by changes alone, as a gateway keeps it: uid → flags."""
    view: dict[int, int] = {}
    synced, uid_next = 0, 1
    while True:
        last = done.is_set()
        changes = await store.read.changes(account, mailbox, synced)
        head = changes.head
        assert all(uid >= uid_next for uid in changes.changed.uids if uid not in view)
        view.update(zip(changes.changed.uids, changes.changed.flags[0], strict=True))
        for uid in changes.vanished:
            view.pop(uid, None)
        assert (len(view), head.highest_modseq >= synced) == (head.messages, True)
        synced, uid_next = head.highest_modseq, head.uid_next
        if last:
            return view


async def bodies_of(db: Database, store: MongoStore, account: AccountId) -> Counter[str]:
    """How often each tag is there: in a mailbox, or in a tombstone of what was expunged."""
    ids: list[bytes] = []
    for name in MAILBOXES:
        head = await store.read.head(account, name)
        rows = (await store.read.changes(account, head.mailbox_id, 0)).changed
        ids += [rows.body_id(row) for row in range(len(rows))]
    for tombstone in await db[schema.VANISHED].find({"a": account, "reason": {"$ne": "move"}}):
        ids += [tombstone["b"][start : start + 16] for start in range(0, len(tombstone["b"]), 16)]
    found: Counter[str] = Counter()
    for start in range(0, len(ids), 500):
        for content in await store.read.contents(account, [BodyId(i) for i in ids[start : start + 500]], 1 << 30):
            assert content is not None
            found[tag_of(content)] += 1
    return found


async def test_two_stores_and_a_watcher(db: Database, stores: list[MongoStore]) -> None:
    account = await new_account(db)
    inbox = await inbox_of(stores[0], account)
    done = asyncio.Event()
    acked: list[str] = []
    watchers = [asyncio.create_task(watch(store, account, inbox, done)) for store in stores]
    await asyncio.gather(*[hammer(stores[seed % 2], account, seed, 25, acked.append) for seed in range(4)])
    done.set()
    whole = (await stores[0].read.changes(account, inbox, 0)).changed
    for watcher in watchers:
        assert await watcher == dict(zip(whole.uids, whole.flags[0], strict=True))
    await check_account(db, account)
    assert await bodies_of(db, stores[1], account) == Counter(acked)


async def test_processes_killed_in_mid_transaction(
    mongod: Mongod, database_name: str, db: Database, stores: list[MongoStore]
) -> None:
    account = await new_account(db)
    inbox = await inbox_of(stores[0], account)
    await stores[0].write.append(
        account, "INBOX", [AppendMessage(message(f"first-{n}")) for n in range(300)], key=key()
    )
    acked = [f"first-{n}" for n in range(300)]
    done = asyncio.Event()
    watcher = asyncio.create_task(watch(stores[1], account, inbox, done))
    points = ["commit.between_writes:8", "replace.before_commit:1", "commit.after_commit:4", "move.before_commit:1"]

    async def victim(number: int, point: str) -> None:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.hammer", mongod.uri, database_name, account.hex()),
            *(str(100 + number), "1000", point),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        output, _ = await child.communicate()
        assert child.returncode == -signal.SIGKILL, point
        lines = output.decode().splitlines()
        acked.extend(line.split()[1] for line in lines if line.startswith("acked "))
        started = time.monotonic()
        await stores[0].write.append(account, "INBOX", [AppendMessage(message(f"after-{number}"))], key=key())
        assert time.monotonic() - started < 4.0, "waited for the end of a dead process's transaction"
        acked.append(f"after-{number}")

    async def victims(chosen: list[int]) -> None:
        for number in chosen:
            await victim(number, points[number])

    await asyncio.gather(victims([0, 1]), victims([2, 3]), hammer(stores[0], account, 7, 40, acked.append))
    done.set()
    whole = (await stores[0].read.changes(account, inbox, 0)).changed
    assert await watcher == dict(zip(whole.uids, whole.flags[0], strict=True))
    await check_account(db, account)
    found = await bodies_of(db, stores[0], account)
    assert not [tag for tag, count in found.items() if count > 1], "twice"
    assert sorted(set(acked) - set(found)) == [], "answered, but lost"
