"""The suppression list for mail no client can be refused for: forwards, groups, notices. On a real mongod."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence

import pytest
from mailboat_common import metrics
from mailboat_common.ids import trace_id
from mailboat_store_client.types import BY_ADDRESS, NO_ACCOUNT, DeliveryStatus, Envelope, EnvelopeRecipient
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.directory.accounts import Accounts, Secret
from storage_api.directory.aliases import Aliases, Who
from storage_api.directory.authenticate import Authenticator
from storage_api.directory.domains import Domains
from storage_api.directory.passwords import PasswordPool
from storage_api.directory.resolve import MongoDirectory
from storage_api.directory.suppressions import ALLOWED, SUPPRESSED, Suppressions
from storage_api.queue.contents import INLINE_BYTES
from storage_api.queue.notice_sender import NoticeSender
from storage_api.store.audit import Summary, audit
from storage_api.store.hooks import Hooks, TraceEvent
from storage_api.store.mongo import MongoStore

from tests.support.mongod import Mongod
from tests.support.planted import empty_database

CONTENT = b"From: carol@else.example\r\nSubject: Lunch\r\n\r\nHi\r\n"
GONE = "gone@far.example"
OWNER = "owner@far.example"


class World:
    """The domain ours.test; alice forwards to `GONE`, the group `team` has it as a member and `OWNER` as its owner."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.trace: list[TraceEvent] = []
        hooks = Hooks(on_trace=self.trace.extend)
        self.store = MongoStore(db, hooks)
        now = self.now = self.store.committer.now
        self.pool = PasswordPool(1)
        logins = Authenticator(db, self.pool, now)
        directory = MongoDirectory(db, logins, now, self.store.delivery.routes)
        self.aliases = Aliases(db, now, directory.forget)
        self.list = Suppressions(db, now)
        self.domains = Domains(db, now, directory.forget)
        self.accounts = Accounts(db, self.pool, logins.verified, now, changed=directory.forget, publish=lambda _: None)
        self.sender = NoticeSender(self.store, directory, hooks)

    async def set_up(self) -> None:
        await self.domains.add("ours.test")
        await self.accounts.create("alice@ours.test", Secret("a password of hers"), 0)
        await self.aliases.set_forwarding("alice@ours.test", [GONE], keep=False)
        await self.aliases.add_group("team@ours.test", [GONE, "ok@far.example"], Who.ANYONE, OWNER)
        await self.list.put(GONE, SUPPRESSED, note="", expires_at=None)

    async def mail(self, to: str, *, sender: str = "carol@else.example", content: bytes = CONTENT) -> list[Document]:
        """A message from outside; returns what is in the queue of it."""
        recipients = (EnvelopeRecipient(to, BY_ADDRESS),)
        envelope = Envelope(trace_id(), sender, recipients, hashlib.sha256(content + os.urandom(4)).digest())
        (result,) = (await self.store.delivery.deliver(envelope, content)).recipients
        assert result.status is DeliveryStatus.QUEUED
        return await self.db[schema.QUEUE].find({"t": envelope.trace_id})

    async def notices(self) -> list[str]:
        return [notice["recipient"] for notice in await self.db[schema.NOTICES].find({})]

    async def findings(self) -> Sequence[object]:
        return [one async for one in audit(self.db) if not isinstance(one, Summary)]


@pytest.fixture
async def world(mongod: Mongod) -> AsyncIterator[World]:
    async with empty_database(mongod.uri, "suppressed") as db:
        for name in ("addresses", "credentials", "domains"):
            await db[name].delete_many({})
        made = World(db)
        await made.set_up()
        yield made
        await made.store.committer.close()
        made.pool.close()


def states(document: Document) -> dict[str, str]:
    return {recipient["address"]: recipient["state"] for recipient in document["recipients"]}


def untold() -> float:
    return metrics.REGISTRY.get_sample_value("mailboat_delivery_notices_total", {"kind": "untold"}) or 0.0


@pytest.mark.parametrize("size", [10, 2 * INLINE_BYTES, 2 << 20], ids=["inline", "parts", "durable before"])
async def test_a_forward_to_a_suppressed_address_fails_without_an_attempt(world: World, size: int) -> None:
    (document,) = await world.mail("alice@ours.test", content=CONTENT + b"x" * size)
    assert (document["state"], states(document)) == ("done", {GONE: "failed"})
    assert not {"content", "content_id", "due", "header"} & document.keys()
    (sender,) = await world.notices()
    assert sender.startswith("SRS0=") and sender.endswith("=else.example=carol@ours.test"), "told as of any failure"
    (notice,) = await world.db[schema.NOTICES].find({})
    assert b"Suppressed: its server called this address unknown" in notice["content"]
    assert b"Status: 5.1.1\r\n" in notice["content"]
    (failed,) = [event for event in world.trace if event.kind == "failed"]
    assert failed.details["reason"].startswith("Suppressed")
    await world.sender.run(world.now())
    (onward,) = await world.db[schema.QUEUE].find({"domain": "else.example"})
    assert states(onward) == {"carol@else.example": "pending"}
    assert await world.findings() == []


async def test_the_owner_of_a_group_is_told_and_the_others_get_their_mail(world: World) -> None:
    (document,) = await world.mail("team@ours.test")
    assert (document["state"], states(document)) == ("ready", {GONE: "failed", "ok@far.example": "pending"})
    assert CONTENT in bytes(document["content"])
    assert await world.notices() == [OWNER]
    assert [e.details["recipient"] for e in world.trace if e.kind == "queued"] == ["ok@far.example"]
    assert await world.findings() == []


async def test_what_is_allowed_or_has_expired_is_sent(world: World) -> None:
    await world.list.put(GONE, ALLOWED, note="checked by phone", expires_at=None)
    (document,) = await world.mail("alice@ours.test")
    assert states(document) == {GONE: "pending"}
    await world.list.put(GONE, SUPPRESSED, note="", expires_at=world.now() - 1)
    (document,) = await world.mail("alice@ours.test")
    assert states(document) == {GONE: "pending"}
    await world.list.put(GONE, SUPPRESSED, note="", expires_at=world.now() + 60_000)
    (document,) = await world.mail("alice@ours.test", sender="")
    assert states(document) == {GONE: "failed"}
    assert await world.notices() == [], "never a bounce for a bounce"
    assert await world.findings() == []


async def test_a_notice_to_a_suppressed_address_ends_with_its_reason(world: World) -> None:
    await world.list.put(OWNER, SUPPRESSED, note="", expires_at=None)
    await world.mail("team@ours.test")
    before = untold()
    await world.sender.run(world.now())
    (document,) = await world.db[schema.QUEUE].find({"recipients.address": OWNER})
    assert (document["state"], document["reverse_path"], states(document)) == ("done", "", {OWNER: "failed"})
    assert document["recipients"][0]["last"]["reason"].startswith("Suppressed")
    assert document.get("a", NO_ACCOUNT) == NO_ACCOUNT
    assert [e.kind for e in world.trace if e.trace_id == document["t"]] == ["written", "failed", "untold"]
    assert (await world.notices(), untold()) == ([], before + 1)
    assert await world.findings() == []
