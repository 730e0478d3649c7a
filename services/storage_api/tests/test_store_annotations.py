"""Annotations on a real mongod: what is counted, what a refusal leaves, and that nothing outlives its mailbox."""

from __future__ import annotations

import asyncio

import pytest
from mailboat_common.errors import Refused, RefusedCode
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.store.mongo import MongoStore

from tests.support.store import key, new_account

COMMENT = "/private/comment"


async def counted(db: Database, account: bytes) -> tuple[int, int]:
    """What the account says it has, and what there is."""
    document = await db[schema.ACCOUNTS].find_one({"_id": account})
    assert document is not None
    owners = await db[schema.ANNOTATIONS].find({"a": account})
    octets = sum(len(entry["n"]) + len(entry["v"]) for owner in owners for entry in owner["entries"])
    return document.get("annotation_bytes", 0), octets


async def test_what_an_account_has_is_counted(db: Database, store: MongoStore) -> None:
    account = await new_account(db)
    await store.write.create(account, "A", key=key())
    await store.write.annotate(account, "A", {COMMENT: b"12345"}, key=key())
    await store.write.annotate(account, "", {COMMENT: b"1"}, key=key())
    assert await counted(db, account) == (2 * len(COMMENT) + 6,) * 2
    await store.write.annotate(account, "A", {COMMENT: b"123"}, key=key())
    assert await counted(db, account) == (2 * len(COMMENT) + 4,) * 2
    with pytest.raises(Refused):
        await store.write.annotate(account, "A", {COMMENT: b"x", "/private/specialuse": b"\\Sent"}, key=key())
    assert await counted(db, account) == (2 * len(COMMENT) + 4,) * 2
    await store.write.delete(account, "A", key=key())
    assert await counted(db, account) == (len(COMMENT) + 1,) * 2
    await store.write.annotate(account, "", {COMMENT: None}, key=key())
    assert await counted(db, account) == (0, 0)
    assert await db[schema.ANNOTATIONS].count({"a": account}) == 0


async def test_two_processes_annotate_one_mailbox_and_delete_it(
    db: Database, store: MongoStore, second: MongoStore
) -> None:
    account = await new_account(db)
    await store.write.create(account, "A", key=key())
    await asyncio.gather(
        *[
            on.write.annotate(account, "A", {f"/private/n{number}": b"x"}, key=key())
            for number, on in enumerate([store, second] * 8)
        ]
    )
    assert len(await store.read.annotations(account, "A")) == 16
    outcomes = await asyncio.gather(
        store.write.delete(account, "A", key=key()),
        *[
            on.write.annotate(account, "A", {f"/private/m{number}": b"x"}, key=key())
            for number, on in enumerate([second, store] * 4)
        ],
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(one, Refused) and one.code is RefusedCode.NO_MAILBOX for one in refused)
    assert await counted(db, account) == (0, 0)


async def test_one_of_two_mailboxes_gets_the_special_use(db: Database, store: MongoStore, second: MongoStore) -> None:
    account = await new_account(db)
    for name in ("A", "B"):
        await store.write.create(account, name, key=key())
    outcomes = await asyncio.gather(
        store.write.annotate(account, "A", {"/private/specialuse": b"\\Flagged"}, key=key()),
        second.write.annotate(account, "B", {"/private/specialuse": b"\\Flagged"}, key=key()),
        return_exceptions=True,
    )
    assert sorted(outcome is None for outcome in outcomes) == [False, True]
    assert await db[schema.MAILBOXES].count({"a": account, "special_use": "\\Flagged"}) == 1
