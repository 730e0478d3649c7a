"""Notices on a real mongod: written with the report, in the sender's INBOX once, whoever repeats, dies or is full."""

from __future__ import annotations

import asyncio
import email
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from mailboat_common import metrics
from mailboat_common.ids import trace_id
from mailboat_store_client.queue import AttemptReport, Claimed, Outcome, RecipientReport
from mailboat_store_client.types import NO_ACCOUNT, AccountId, Envelope, EnvelopeRecipient
from storage_api.db import schema
from storage_api.db.driver import Database, Document
from storage_api.directory.accounts import Accounts, Secret
from storage_api.directory.authenticate import Authenticator
from storage_api.directory.domains import Domains
from storage_api.directory.passwords import PasswordPool
from storage_api.directory.resolve import MongoDirectory
from storage_api.directory.suppressions import ALLOWED, SUPPRESSED, Suppressions
from storage_api.queue.documents import job_of
from storage_api.queue.notice_sender import RETRY_MS, NoticeSender
from storage_api.queue.policy import QueuePolicy
from storage_api.queue.retry import HOUR_MS
from storage_api.store.audit import Finding, Summary, audit
from storage_api.store.hooks import Hooks, TraceEvent
from storage_api.store.mongo import MongoStore

from tests.support.mongod import Mongod
from tests.support.planted import empty_database
from tests.support.store import inbox_of

CONTENT = b"From: alice@ours.test\r\nTo: bob@far.example\r\nSubject: Lunch\r\nMessage-ID: <1@ours.test>\r\n\r\nHi\r\n"
POLICY = QueuePolicy(hostname="mail.ours.test")
HOST = "mx.far.example [192.0.2.9]:25"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class World:
    """A platform with the domain ours.test and alice in it."""

    db: Database
    alice: AccountId
    accounts: Accounts
    trace: list[TraceEvent] = field(default_factory=list)
    store: MongoStore = field(init=False)
    sender: NoticeSender = field(init=False)
    directory: MongoDirectory = field(init=False)

    def __post_init__(self) -> None:
        hooks = Hooks(on_trace=self.trace.extend)
        self.store = MongoStore(self.db, hooks, policy=POLICY)
        self.directory = MongoDirectory(self.db, Authenticator(self.db, PasswordPool(1), now_ms), now_ms)
        store = self.store
        self.sender = NoticeSender(store, self.directory, hooks)

    async def submit(self, *addresses: str, sender: str = "alice@ours.test", content: bytes = CONTENT) -> str:
        """Queue a message; returns its trace id."""
        recipients = tuple(EnvelopeRecipient(address, NO_ACCOUNT, notify=self.notify) for address in addresses)
        mail = Envelope(trace_id(), sender, recipients, os.urandom(32), account_id=self.alice)
        await self.store.delivery.deliver(mail, content)
        return mail.trace_id

    notify: str = ""

    async def claim(self, mail: str) -> Claimed:
        (document,) = await self.db[schema.QUEUE].find({"t": mail})
        (claimed,) = await self.store.queue.claim([job_of(document)], "w", max_bytes=0, key=os.urandom(16))
        assert claimed is not None
        return claimed

    async def document(self, mail: str) -> Document:
        (document,) = await self.db[schema.QUEUE].find({"t": mail})
        return document

    async def fail(self, mail: str, status: str = "5.1.1") -> AttemptReport:
        """Every recipient is refused; returns the report."""
        return await self.end(mail, Outcome.FAILED, status, f"550 {status} No such user")

    async def end(self, mail: str, outcome: Outcome, status: str, reply: str) -> AttemptReport:
        claimed = await self.claim(mail)
        results = tuple(RecipientReport(r.address, outcome, status, reply, host=HOST) for r in claimed.recipients)
        report = AttemptReport(claimed.queue_id, claimed.token, results)
        assert await self.store.queue.report([report]) == [True]
        return report

    async def inbox(self) -> list[email.message.Message]:
        """Alice's messages."""
        changes = await self.store.read.changes(self.alice, await inbox_of(self.store, self.alice), 0)
        ids = [changes.changed.body_id(row) for row in range(len(changes.changed))]
        contents = await self.store.read.contents(self.alice, ids, 1 << 20)
        return [email.message_from_bytes(content) for content in contents if content is not None]

    async def audited(self) -> tuple[list[Finding], Summary]:
        found = [one async for one in audit(self.db)]
        assert isinstance(found[-1], Summary)
        return [one for one in found if isinstance(one, Finding)], found[-1]


@pytest.fixture
async def world(mongod: Mongod) -> AsyncIterator[World]:
    async with empty_database(mongod.uri, "notices") as db:
        for name in ("addresses", "credentials", "domains"):
            await db[name].delete_many({})
        pool = PasswordPool(1)
        logins = Authenticator(db, pool, now_ms)
        accounts = Accounts(db, pool, logins.verified, now_ms, changed=lambda: None, publish=lambda _news: None)
        await Domains(db, now_ms, lambda: None).add("ours.test")
        alice = (await accounts.create("alice@ours.test", Secret("a password of hers"), 0)).account_id
        made = World(db, alice, accounts)
        yield made
        await made.store.committer.close()
        pool.close()


def counted(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"mailboat_{name}", labels) or 0.0


async def test_a_bounce_reaches_its_local_sender_once_however_often_it_is_reported(world: World) -> None:
    before = counted("bounces_total", **{"class": "address"})
    mail = await world.submit("bob@far.example", "eve@far.example")
    report = await world.fail(mail)
    assert await world.store.queue.report([report, report]) == [True, True]
    findings, summary = await world.audited()
    assert (findings, summary.queued) == ([], 1), "the notice waits, and the audit knows"
    await world.sender.run(now_ms())
    await world.sender.run(now_ms() + RETRY_MS)
    (bounce,) = await world.inbox()
    assert (bounce["Return-Path"], bounce["Auto-Submitted"]) == ("<>", "auto-replied")
    assert bounce["From"] == "Mail Delivery System <MAILER-DAEMON@mail.ours.test>"
    text, status, header = bounce.get_payload()
    assert "<bob@far.example>" in text.get_payload() and "550 5.1.1 No such user" in text.get_payload()
    assert [block["Final-Recipient"] for block in status.get_payload()[1:]] == [
        "rfc822; bob@far.example",
        "rfc822; eve@far.example",
    ]
    assert "Message-ID: <1@ours.test>" in header.get_payload()
    assert counted("bounces_total", **{"class": "address"}) == before + 2
    assert await world.db[schema.NOTICES].count({}) == 0
    assert (await world.audited())[0] == []
    told = [event for event in world.trace if event.kind == "notice"]
    assert [(e.trace_id, e.details["about"], e.details["recipient"]) for e in told] == [
        (mail, "failure", "alice@ours.test")
    ]
    assert [e.kind for e in world.trace if e.trace_id == told[0].details["notice"]] == ["written", "filed"]


async def test_a_bounce_for_a_sender_elsewhere_is_queued_with_the_null_reverse_path(world: World) -> None:
    await world.fail(await world.submit("bob@far.example", sender="carol@else.example"))
    await world.sender.run(now_ms())
    (notice,) = await world.db[schema.QUEUE].find({"domain": "else.example"})
    claimed = await world.claim(notice["t"])
    assert claimed.reverse_path == ""
    assert [(r.address, r.notify) for r in claimed.recipients] == [("carol@else.example", "NEVER")]
    assert await world.db[schema.NOTICES].count({}) == 0
    before = counted("delivery_notices_total", kind="untold")
    results = (RecipientReport("carol@else.example", Outcome.FAILED, "5.1.1", "550 5.1.1 no"),)
    assert await world.store.queue.report([AttemptReport(claimed.queue_id, claimed.token, results)]) == [True]
    assert await world.db[schema.NOTICES].count({}) == 0, "never a bounce for a bounce"
    assert counted("delivery_notices_total", kind="untold") == before + 1
    assert [e.details["recipient"] for e in world.trace if e.kind == "untold"] == ["carol@else.example"]


async def test_results_that_came_one_by_one_are_one_notice(world: World) -> None:
    mail = await world.submit("bob@far.example", "eve@far.example", "ok@far.example")
    claimed = await world.claim(mail)
    for address, outcome in (("bob", Outcome.FAILED), ("ok", Outcome.DELIVERED), ("eve", Outcome.FAILED)):
        one = RecipientReport(f"{address}@far.example", outcome, "5.7.1", "550 5.7.1 no")
        report = AttemptReport(claimed.queue_id, claimed.token, (one,), final=address == "eve")
        assert await world.store.queue.report([report]) == [True]
    assert await world.db[schema.NOTICES].count({}) == 1
    recipients = (await world.document(mail))["recipients"]
    assert [recipient["settled"] for recipient in recipients] == [True] * 3


async def test_failures_of_a_worker_that_died_are_told_when_its_claim_ends(world: World) -> None:
    mail = await world.submit("bob@far.example", "eve@far.example")
    claimed = await world.claim(mail)
    one = RecipientReport("bob@far.example", Outcome.FAILED, "5.1.1", "550 5.1.1 no")
    await world.store.queue.report([AttemptReport(claimed.queue_id, claimed.token, (one,), final=False)])
    assert await world.db[schema.NOTICES].count({}) == 0
    await world.db[schema.QUEUE].update_one({"t": mail}, {"$set": {"lease_until": 1}})
    assert await world.store.queue.end_leases([(claimed.queue_id, claimed.token)]) == 1
    assert await world.db[schema.NOTICES].count({}) == 1
    await world.fail(mail, "5.7.1")
    contents = [notice["content"] for notice in await world.db[schema.NOTICES].find({}, sort=[("_id", 1)])]
    assert [b"Final-Recipient: rfc822; bob@far.example" in content for content in contents] == [True, False]


async def test_a_delay_is_told_once_and_the_end_after_five_days(world: World) -> None:
    mail = await world.submit("bob@far.example")
    for age, kinds in ((HOUR_MS, []), (5 * HOUR_MS, ["delay"]), (9 * HOUR_MS, ["delay"])):
        await world.db[schema.QUEUE].update_one({"t": mail}, {"$set": {"created_at": now_ms() - age}})
        await world.end(mail, Outcome.DEFERRED, "4.2.2", "452 4.2.2 Mailbox full")
        found = await world.db[schema.NOTICES].find({}, sort=[("_id", 1)])
        assert [notice["kind"] for notice in found] == kinds
    await world.db[schema.QUEUE].update_one({"t": mail}, {"$set": {"expires_at": now_ms()}})
    before = counted("bounces_total", **{"class": "expired"})
    await world.end(mail, Outcome.DEFERRED, "4.2.2", "452 4.2.2 Mailbox full")
    assert counted("bounces_total", **{"class": "expired"}) == before + 1
    await world.sender.run(now_ms())
    await world.sender.run(now_ms() + RETRY_MS)
    delay, end = await world.inbox()
    assert delay["Subject"] == "Delayed: your message to bob@far.example"
    assert delay.get_payload()[1].get_payload()[1]["Action"] == "delayed"
    (_, block) = end.get_payload()[1].get_payload()
    assert (block["Action"], block["Status"]) == ("failed", "4.2.2")


async def test_success_is_told_if_it_was_asked_for(world: World) -> None:
    world.notify = "SUCCESS"
    await world.end(await world.submit("bob@far.example"), Outcome.DELIVERED, "2.0.0", "250 2.0.0 Ok")
    await world.sender.run(now_ms())
    (notice,) = await world.inbox()
    assert notice.get_payload()[1].get_payload()[1]["Action"] == "relayed"
    await world.fail(await world.submit("bob@far.example"))
    assert await world.db[schema.NOTICES].count({}) == 0


@pytest.mark.parametrize("accepted", [False, True], ids=["at once", "accepted first"])
async def test_success_is_told_of_what_is_filed_here(
    world: World, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    if accepted:
        monkeypatch.setattr("storage_api.store.delivery.MAX_ITEMS", 1)
    bob = (await world.accounts.create("bob@ours.test", Secret("a password of his"), 0)).account_id
    recipients = (
        EnvelopeRecipient("bob@ours.test", bob, notify="SUCCESS", orcpt="rfc822;robert@ours.test"),
        EnvelopeRecipient("bob+x@ours.test", bob, notify="FAILURE"),
        EnvelopeRecipient("alice@ours.test", world.alice),
    )
    mail = Envelope(trace_id(), "alice@ours.test", recipients, os.urandom(32), envid="E7")
    for _ in range(2):
        await world.store.delivery.deliver(mail, CONTENT)
    await world.sender.run(now_ms())
    _, notice = await world.inbox()
    assert notice["Subject"] == "Delivered: your message to bob@ours.test"
    about, *blocks = notice.get_payload()[1].get_payload()
    assert about["Original-Envelope-Id"] == "E7"
    assert [(b["Original-Recipient"], b["Action"], b["Status"]) for b in blocks] == [
        ("rfc822; robert@ours.test", "delivered", "2.0.0")
    ]
    assert "Message-ID: <1@ours.test>" in notice.get_payload()[2].get_payload()
    assert (await world.audited())[0] == []


async def test_an_account_closed_between_250_and_filing_is_told_to_the_sender_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = (await world.accounts.create("bob@ours.test", Secret("a password of his"), 0)).account_id
    recipients = (EnvelopeRecipient("bob@ours.test", bob), EnvelopeRecipient("alice@ours.test", world.alice))
    mail = Envelope(trace_id(), "alice@ours.test", recipients, os.urandom(32))

    async def die(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("storage_api.store.delivery.MAX_ITEMS", 1)
        patch.setattr(world.store.delivery, "_file_accepted", die)
        with pytest.raises(ConnectionError):
            await world.store.delivery.deliver(mail, CONTENT)
    await world.db[schema.ACCOUNTS].update_one({"_id": bob}, {"$set": {"deleted_at": 1}})
    for minutes in (10, 20):
        await world.store.delivery.sweep_accepted(now_ms() + minutes * 60_000)
    await world.sender.run(now_ms())
    assert await world.db[schema.ACCEPTED].count({}) == 0
    _, bounce = await world.inbox()
    block = bounce.get_payload()[1].get_payload()[1]
    assert (block["Final-Recipient"], block["Status"]) == ("rfc822; bob@ours.test", "5.2.1")
    assert "was closed" in bounce.get_payload()[0].get_payload()


async def test_the_header_of_a_large_message_comes_back(world: World) -> None:
    big = CONTENT + b"x" * 70 + (b"\r\n" + b"y" * 70) * 40_000
    mail = await world.submit("bob@far.example", content=big)
    assert len((await world.document(mail))["header"]) < 200
    await world.fail(mail)
    assert "header" not in await world.document(mail)
    (notice,) = await world.db[schema.NOTICES].find({})
    assert b"Subject: Lunch" in notice["content"] and len(notice["content"]) < 4000


async def test_a_sender_over_quota_is_told_all_the_same_and_one_who_left_is_not(world: World) -> None:
    await world.db[schema.ACCOUNTS].update_one({"_id": world.alice}, {"$set": {"quota_bytes": 1}})
    await world.fail(await world.submit("bob@far.example"))
    await world.sender.run(now_ms())
    assert len(await world.inbox()) == 1
    await world.fail(await world.submit("bob@far.example", sender="gone@ours.test"))
    before = counted("delivery_notices_total", kind="untold")
    await world.sender.run(now_ms())
    assert await world.db[schema.NOTICES].count({}) == 0
    assert counted("delivery_notices_total", kind="untold") == before + 1
    assert world.trace[-1].kind == "untold"
    assert world.trace[-1].details["reason"] == "unknown"


_CHILD = """
    import asyncio, sys, time
    from mailboat_common import crash
    from storage_api.db.driver import connect
    from storage_api.directory.authenticate import Authenticator
    from storage_api.directory.passwords import PasswordPool
    from storage_api.directory.resolve import MongoDirectory
    from storage_api.queue.notice_sender import NoticeSender
    from storage_api.store.mongo import MongoStore

    def now():
        return time.time_ns() // 1_000_000

    async def main():
        uri, database, point = sys.argv[1:]
        db = connect(uri, app="victim", database=database)
        store = MongoStore(db)
        directory = MongoDirectory(db, Authenticator(db, PasswordPool(1), now), now)
        crash.arm(point)
        await NoticeSender(store, directory).run(now())

    asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["deliver.before_commit", "deliver.after_commit", "notice.filed"])
async def test_a_worker_killed_on_the_way_loses_and_doubles_no_notice(mongod: Mongod, world: World, point: str) -> None:
    await world.fail(await world.submit("bob@far.example"))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(_CHILD), mongod.uri, world.db.name, point
    )
    assert await child.wait() == -signal.SIGKILL
    assert await world.db[schema.NOTICES].count({}) == 1
    await world.sender.run(now_ms() + RETRY_MS + 1000)
    assert len(await world.inbox()) == 1
    assert await world.db[schema.NOTICES].count({}) == 0
    assert (await world.audited())[0] == []


async def test_a_notice_nobody_sends_is_found_by_the_audit(world: World) -> None:
    await world.fail(await world.submit("bob@far.example"))
    found = [one async for one in audit(world.db, now=now_ms() + 2 * HOUR_MS)]
    assert [one.kind.value for one in found if isinstance(one, Finding)] == ["notice_stuck"]


# Suppression


async def test_an_address_its_server_calls_unknown_is_suppressed(world: World) -> None:
    suppressions = Suppressions(world.db, now_ms)
    await world.fail(await world.submit("Bob@FAR.example"))
    (entry,) = await suppressions.page("", 10)
    assert (entry.address, entry.kind, entry.reason) == ("bob@far.example", SUPPRESSED, "bounce")
    assert (entry.status, entry.reply, entry.host) == ("5.1.1", "550 5.1.1 No such user", HOST)
    assert entry.expires_at is not None and entry.expires_at > now_ms() + 89 * 24 * HOUR_MS
    asked = await world.directory.resolve(["BOB@far.example", "carol@far.example", "alice@ours.test", "x"])
    assert [one.suppressed for one in asked] == [True, False, False, False]
    await suppressions.remove("bob@far.example")
    assert not (await world.directory.resolve(["bob@far.example"]))[0].suppressed


@pytest.mark.parametrize(
    ("outcome", "status", "reply"),
    [
        (Outcome.FAILED, "5.7.1", "550 5.7.1 Policy"),
        (Outcome.FAILED, "5.2.2", "552 5.2.2 Full"),
        (Outcome.FAILED, "5.1.2", "550 5.1.2 No such domain"),
        (Outcome.FAILED, "5.1.1", ""),
        (Outcome.DEFERRED, "4.1.1", "450 4.1.1 Not now"),
        (Outcome.DELIVERED, "2.0.0", "250 Ok"),
    ],
)
async def test_nothing_else_suppresses_an_address(world: World, outcome: Outcome, status: str, reply: str) -> None:
    await world.end(await world.submit("bob@far.example"), outcome, status, reply)
    assert await world.db[schema.SUPPRESSIONS].count({}) == 0


async def test_what_an_operator_decided_stays(world: World) -> None:
    suppressions = Suppressions(world.db, now_ms)
    await suppressions.put("bob@far.example", ALLOWED, note="checked by phone", expires_at=None)
    await suppressions.put("eve@far.example", SUPPRESSED, note="asked for it", expires_at=None)
    await world.fail(await world.submit("bob@far.example", "eve@far.example"))
    assert [(e.address, e.kind, e.reason) for e in await suppressions.page("", 10)] == [
        ("bob@far.example", ALLOWED, "checked by phone"),
        ("eve@far.example", SUPPRESSED, "asked for it"),
    ]
    assert not (await world.directory.resolve(["bob@far.example"]))[0].suppressed


async def test_an_entry_that_has_expired_is_none_before_mongodb_removes_it(world: World) -> None:
    suppressions = Suppressions(world.db, now_ms)
    await suppressions.put("bob@far.example", SUPPRESSED, note="", expires_at=now_ms() - 1)
    assert await suppressions.page("", 10) == []
    assert not (await world.directory.resolve(["bob@far.example"]))[0].suppressed
