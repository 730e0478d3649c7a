"""DKIM keys and signatures on a real mongod: made, rotated, activated by DNS, retired; what is queued verifies."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator

import dkim as dkimpy
import pytest
from mailboat_common.errors import Refused, RefusedCode
from mailboat_common.ids import trace_id, uuid7
from mailboat_mime.dkim_keys import Algorithm
from mailboat_store_client.queue import Job
from mailboat_store_client.types import (
    NO_ACCOUNT,
    AccountId,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
)
from storage_api.db import schema
from storage_api.db.driver import Database
from storage_api.db.migrations import migrate
from storage_api.directory.accounts import Accounts, Secret
from storage_api.directory.authenticate import Authenticator
from storage_api.directory.dkim import RETIRE_MS, DkimKey, DkimKeys, KeyState
from storage_api.directory.domains import Domains
from storage_api.directory.passwords import PasswordPool
from storage_api.directory.resolve import MongoDirectory
from storage_api.directory.schema import STEPS
from storage_api.domain_dns.ask import resolver
from storage_api.domain_dns.service import DomainDns
from storage_api.queue.notice_sender import NoticeSender
from storage_api.queue.policy import QueuePolicy
from storage_api.signer import KEEP_SECONDS, Signer
from storage_api.store.hooks import Hooks
from storage_api.store.mongo import MongoStore

from tests.support.dns_server import Fault, dns_server
from tests.support.store import inbox_of

DAY = 24 * 3600 * 1000
BODY = "Grüße,\r\n\r\n  two  spaces \r\n.\r\n\r\n\r\n".encode()
_numbers = itertools.count(1)


class World:
    """A domain of its own and a store that signs. `now` in ms; `seconds` is the signer's clock."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.now = 1_800_000_000_000
        self.seconds = 0.0
        self.domain = f"k{next(_numbers)}.{uuid7().hex()}.test"
        self.keys = DkimKeys(db, lambda: self.now)
        self.signer = Signer(self.keys, lambda: self.seconds)
        self.jobs: list[Job] = []
        self.store = MongoStore(db, Hooks(on_queued=self.jobs.extend), sign=self.signer.sign)
        self.domains = Domains(db, lambda: self.now, lambda: None)
        self.pool = PasswordPool(1)

    async def account(self) -> AccountId:
        accounts = Accounts(
            self.db, self.pool, lambda *_: None, lambda: self.now, changed=lambda: None, publish=lambda _news: None
        )
        return (await accounts.create(f"alice@{self.domain}", Secret("correct horse"))).account_id

    async def states(self) -> list[tuple[str, str]]:
        return [(key.selector, key.state.value) for key in await self.keys.of(self.domain)]

    def message(self) -> bytes:
        head = f"From: Alice <alice@{self.domain}>\r\nTo: bob@far.test\r\nSubject: Grüße\r\nMessage-ID: <1@x>\r\n\r\n"
        return f"Received: from laptop by mail; now\r\n{head}".encode() + BODY


@pytest.fixture
async def world(db: Database) -> AsyncIterator[World]:
    await migrate(db, STEPS)
    made = World(db)
    await made.domains.add(made.domain)
    yield made
    made.pool.close()
    await made.store.committer.close()


def verdicts(content: bytes, keys: list[DkimKey]) -> list[bool]:
    """dkimpy's judgement of each signature, from the top."""
    records = {key.name + ".": key.record.encode() for key in keys}
    count = content.count(b"DKIM-Signature:")
    return [
        bool(dkimpy.DKIM(content).verify(idx=n, dnsfunc=lambda name, timeout=5: records.get(name.decode())))
        for n in range(count)
    ]


async def test_a_domain_gets_one_pair_that_signs_at_once(world: World) -> None:
    other = DkimKeys(world.db, lambda: world.now)
    first, second = await asyncio.gather(world.keys.of(world.domain), other.of(world.domain.upper()))
    assert first == second
    assert await world.states() == [("20270115a-ed25519", "active"), ("20270115a-rsa", "active")]
    with pytest.raises(Refused) as error:
        await world.keys.of("nowhere.test")
    assert error.value.code is RefusedCode.NOT_FOUND


async def test_rotation_keeps_the_old_pair_published_and_then_removes_it(world: World) -> None:
    await world.keys.of(world.domain)
    with pytest.raises(Refused) as error:
        await world.keys.activate(world.domain)
    assert error.value.code is RefusedCode.CONFLICT
    await world.keys.rotate(world.domain)
    again = await world.keys.rotate(world.domain)
    assert [(key.selector, key.state) for key in again if key.algorithm is Algorithm.RSA] == [
        ("20270115a-rsa", KeyState.ACTIVE),
        ("20270115b-rsa", KeyState.PENDING),
    ]
    world.now += DAY
    await world.keys.activate(world.domain)
    assert await world.states() == [
        ("20270115b-ed25519", "active"),
        ("20270115b-rsa", "active"),
        ("20270115a-ed25519", "retiring"),
        ("20270115a-rsa", "retiring"),
    ]
    await world.keys.retire(world.now + RETIRE_MS - 1)
    assert len(await world.states()) == 4
    await world.keys.retire(world.now + RETIRE_MS)
    assert await world.states() == [("20270115b-ed25519", "active"), ("20270115b-rsa", "active")]


async def test_the_worker_activates_what_dns_has(world: World) -> None:
    await world.keys.of(world.domain)
    pending = [key for key in await world.keys.rotate(world.domain) if key.state is KeyState.PENDING]
    async with dns_server("") as server:
        worker = DomainDns(world.keys, resolver([server.address]), "mail.example.test")
        server.add(f'{pending[0].name}. 60 TXT "{pending[0].record[:200]}" "{pending[0].record[200:]}"')
        await worker.sweep(world.now)
        assert [state for _, state in await world.states()] == ["active", "active", "pending", "pending"]
        server.add(f'{pending[1].name}. 60 TXT "{pending[1].record[:200]}" "{pending[1].record[200:]}"')
        server.faults[world.domain + "."] = Fault.REFUSED
        await worker.sweep(world.now)
        assert [state for _, state in await world.states()] == ["active", "active", "pending", "pending"]
        server.faults.clear()
        await worker.sweep(world.now)
    assert [state for _, state in await world.states()] == ["active", "active", "retiring", "retiring"]
    await world.domains.remove(world.domain)
    assert await world.db["dkim_keys"].count({"domain": world.domain}) == 0


async def test_signing_follows_a_rotation_and_knows_only_our_domains(world: World) -> None:
    message = world.message()
    first = await world.signer.sign(world.domain, message, 1_700_000_000)
    assert verdicts(first + message, await world.keys.of(world.domain)) == [True, True]
    await world.keys.rotate(world.domain)
    await world.keys.activate(world.domain)
    assert await world.signer.sign(world.domain, message, 1_700_000_000) == first  # kept for a while, still published
    world.seconds += KEEP_SECONDS
    later = await world.signer.sign(world.domain, message, 1_700_000_000)
    assert b"s=20270115b-rsa;" in later
    assert len(later) == len(first)
    assert verdicts(later + message, await world.keys.of(world.domain)) == [True, True]
    for domain in ("far.test", "", "[192.0.2.1]"):
        assert await world.signer.sign(domain, message, 1) == b""
    assert await world.signer.sign(world.domain, b"Subject: x\r\n\r\n", 1) == b""


async def test_a_key_is_parsed_once(world: World) -> None:
    first = await world.keys.signing_keys(world.domain)
    again = await world.keys.signing_keys(world.domain)
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]
    await world.keys.rotate(world.domain)
    await world.keys.activate(world.domain)
    later = await world.keys.signing_keys(world.domain)
    assert [key.selector for key in later] == [key.selector.replace("a-", "b-") for key in first]


def envelope(world: World, account: AccountId, recipients: list[EnvelopeRecipient]) -> Envelope:
    return Envelope(
        trace_id=trace_id(),
        reverse_path=f"alice@{world.domain}",
        recipients=tuple(recipients),
        content_sha256=hashlib.sha256(uuid7()).digest(),
        listener="submission",
        account_id=account,
    )


@pytest.mark.parametrize("size", [0, 3_000_000])
async def test_what_is_queued_and_filed_of_a_submission_is_signed(world: World, size: int) -> None:
    alice = await world.account()
    message = world.message() + b"filled line\r\n" * (size // 13)
    content = f"Return-Path: <alice@{world.domain}>\r\n".encode() + message
    recipients = [EnvelopeRecipient(address, NO_ACCOUNT) for address in ("bob@far.test", "eve@away.test")]
    recipients.append(EnvelopeRecipient(f"alice@{world.domain}", alice))
    sent = envelope(world, alice, recipients)
    result = await world.store.delivery.deliver(sent, content)
    assert [one.status for one in result.recipients[:2]] == [DeliveryStatus.QUEUED] * 2
    again = await world.store.delivery.deliver(sent, content)
    assert [one.status for one in again.recipients] == [one.status for one in result.recipients]
    keys = await world.keys.of(world.domain)
    claimed = await world.store.queue.claim(world.jobs, "w", max_bytes=1 << 24, key=uuid7())
    assert [one.domain for one in claimed if one] == ["far.test", "away.test"]
    for one in claimed:
        assert one is not None
        queued = one.content or await world.store.queue.content(one.queue_id, one.token)
        assert queued.startswith(b"DKIM-Signature: ")
        assert queued.endswith(message)
        assert verdicts(queued, keys) == [True, True]


NOTICE = b"From: MAILER-DAEMON@mx1.mail.x.test\r\nTo: <bob@far.test>\r\nSubject: Not delivered\r\n\r\nNo.\r\n"


async def plant_notice(world: World, recipient: str) -> str:
    notice_id = trace_id()
    notice = {
        "_id": notice_id,
        "at": 1_700_000_000_000,
        "due": 0,
        "kind": "failure",
        "about": trace_id(),
        "smtputf8": False,
    }
    await world.db[schema.NOTICES].insert_one({**notice, "recipient": recipient, "content": NOTICE})
    return notice_id


async def test_notices_are_signed_by_the_platforms_domain_wherever_they_go(world: World) -> None:
    alice = await world.account()
    directory = MongoDirectory(world.db, Authenticator(world.db, world.pool, lambda: world.now), lambda: world.now)
    store = MongoStore(world.db, policy=QueuePolicy(hostname=f"mx1.mail.{world.domain}"))
    sender = NoticeSender(store, directory, sign=world.signer.sign_for_host)
    away = await plant_notice(world, "bob@far.test")
    await plant_notice(world, f"alice@{world.domain}")
    await sender.run(world.now)
    (queued,) = await world.db[schema.QUEUE].find({"t": away})
    changes = await store.read.changes(alice, await inbox_of(store, alice), 0)
    (filed,) = await store.read.contents(alice, [changes.changed.body_id(0)], 1 << 20)
    keys = await world.keys.of(world.domain)
    for content in (bytes(queued["content"]), filed):
        assert content is not None and content.endswith(NOTICE)
        assert f"d={world.domain};".encode() in content
        assert verdicts(content, keys) == [True, True]
    await store.committer.close()


async def test_a_host_in_no_domain_of_ours_signs_nothing(world: World) -> None:
    assert await world.signer.sign_for_host(f"not{world.domain}", NOTICE, 1) == b""
    assert await world.signer.sign_for_host("localhost", NOTICE, 1) == b""
    assert await world.signer.sign_for_host(world.domain, NOTICE, 1) == await world.signer.sign(world.domain, NOTICE, 1)


async def test_what_comes_from_elsewhere_is_not_signed(world: World) -> None:
    alice = await world.account()
    received = envelope(world, NO_ACCOUNT, [EnvelopeRecipient(f"alice@{world.domain}", alice)])
    signed = []

    async def sign(domain: str, content: bytes, at: int) -> bytes:
        signed.append(domain)
        return b""

    store = MongoStore(world.db, sign=sign)
    await store.delivery.deliver(received, world.message())
    assert signed == []
    await store.committer.close()
