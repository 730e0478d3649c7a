"""Aliases, groups, catch-all and forwarding, from RCPT to what is filed and queued, on a real mongod."""

from __future__ import annotations

import asyncio
import email.message
import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import bcrypt
import pytest
from mailboat_common.errors import Failure, Refused, RefusedCode
from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.types import (
    BY_ADDRESS,
    NO_ACCOUNT,
    AccountId,
    AuthStatus,
    DeliveryStatus,
    Envelope,
    EnvelopeRecipient,
    RecipientStatus,
)
from storage_api.db.driver import Database, Document
from storage_api.db.migrations import migrate
from storage_api.directory import routes
from storage_api.directory.accounts import Accounts, Secret
from storage_api.directory.aliases import Aliases, Forwarding, Who
from storage_api.directory.authenticate import Authenticator
from storage_api.directory.domains import Domains
from storage_api.directory.passwords import PasswordPool
from storage_api.directory.resolve import MongoDirectory
from storage_api.directory.schema import STEPS
from storage_api.store.mongo import MongoStore

from tests.support.store import check_account

PASSWORD = "correct horse"
HASH = "{BCRYPT}" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
SENDER = "sender@elsewhere.test"
MESSAGE = b"Return-Path: <sender@elsewhere.test>\r\nReceived: by us\r\nSubject: a\r\n\r\nText.\r\n"
_numbers = itertools.count(1)


class World:
    """A directory and a store with one domain of its own."""

    def __init__(self, db: Database, store: MongoStore) -> None:
        self.db, self.store = db, store
        self.domain = f"d{next(_numbers)}.{uuid7().hex()}.test"
        self.pool = PasswordPool(2)
        now = store.committer.now
        self.logins = Authenticator(db, self.pool, now)
        self.directory = MongoDirectory(db, self.logins, now, store.delivery.routes)
        forget = self.directory.forget
        self.domains = Domains(db, now, forget)
        self.aliases = Aliases(db, now, forget)
        self.accounts = Accounts(db, self.pool, self.logins.verified, now, changed=forget, publish=lambda _news: None)

    def at(self, local: str) -> str:
        return f"{local}@{self.domain}"

    async def add(self, local: str, quota: int = 0) -> AccountId:
        account = await self.accounts.create(self.at(local), Secret(None, HASH), quota)
        return account.account_id

    async def status(self, local: str, sender: str = SENDER, account_id: AccountId = NO_ACCOUNT) -> RecipientStatus:
        found = await self.directory.resolve([self.at(local)], sender=sender, account_id=account_id)
        return found[0].status

    async def mail(
        self, *locals_: str, sender: str = SENDER, content: bytes = MESSAGE, trace: str = ""
    ) -> list[DeliveryStatus]:
        """A transaction as SMTP makes it: RCPT by RCPT, then the message."""
        resolved = await self.directory.resolve([self.at(one) for one in locals_], sender=sender)
        assert {one.status for one in resolved} == {RecipientStatus.LOCAL}
        recipients = tuple(EnvelopeRecipient(r.address, r.account_id or NO_ACCOUNT, r.mailbox) for r in resolved)
        envelope = Envelope(trace or trace_id(), sender, recipients, hashlib.sha256(content).digest())
        result = await self.store.delivery.deliver(envelope, content)
        assert [one.address for one in result.recipients] == [self.at(one) for one in locals_]
        return [one.status for one in result.recipients]

    async def count(self, account_id: AccountId) -> int:
        return sum(len(contents.living) for contents in (await check_account(self.db, account_id)).values())

    async def queued(self) -> list[Document]:
        """What waits for other servers and came through this test's domain."""
        found = await self.db["queue"].find({"state": "ready"}, sort=[("_id", 1)])
        return [d for d in found if self.domain.encode() in bytes(d.get("content", b"")) or self.domain in str(d)]


@pytest.fixture
async def world(db: Database, store: MongoStore) -> AsyncIterator[World]:
    await migrate(db, STEPS)
    made = World(db, store)
    await made.domains.add(made.domain)
    yield made
    made.pool.close()


async def refused(code: RefusedCode, work) -> None:
    with pytest.raises(Refused) as error:
        await work
    assert error.value.code is code


async def test_an_alias_is_an_address_of_its_account(world: World) -> None:
    alice = await world.add("alice")
    bob = await world.add("bob")
    alias = await world.aliases.add_alias(world.at("Sales"), world.at("alice"))
    assert (alias.address, alias.account) == (world.at("sales"), world.at("alice"))
    assert await world.mail("SALES+x") == [DeliveryStatus.FILED]
    assert await world.count(alice) == 1
    assert await world.directory.owns(alice, [world.at("sales"), world.at("bob")]) == [True, False]
    assert await world.directory.owns(bob, [world.at("sales")]) == [False]
    login = await world.logins.authenticate(world.at("sales"), PASSWORD, "192.0.2.1")
    assert (login.status, login.login) == (AuthStatus.OK, world.at("alice"))
    assert await world.aliases.aliases(world.domain, None, "", 10) == [alias]
    assert await world.aliases.aliases(None, world.at("bob"), "", 10) == []
    await refused(RefusedCode.ALREADY_EXISTS, world.aliases.add_alias(world.at("sales"), world.at("bob")))
    await refused(RefusedCode.ALREADY_EXISTS, world.aliases.add_group(world.at("alice"), [], Who.ANYONE, None))
    await refused(RefusedCode.ALREADY_EXISTS, world.add("sales"))
    await refused(RefusedCode.NOT_FOUND, world.aliases.add_alias(world.at("x"), world.at("nobody")))
    await refused(RefusedCode.NOT_FOUND, world.aliases.add_alias(world.at("x"), world.at("sales")))
    await refused(RefusedCode.NOT_FOUND, world.aliases.add_alias("x@nowhere.test", world.at("alice")))
    await refused(RefusedCode.INVALID, world.aliases.add_alias("nonsense", world.at("alice")))
    await refused(RefusedCode.NOT_FOUND, world.accounts.remove(world.at("sales")))  # an alias manages no account
    await world.aliases.remove_alias(world.at("sales"))
    assert await world.status("sales") is RecipientStatus.UNKNOWN
    await refused(RefusedCode.NOT_FOUND, world.aliases.remove_alias(world.at("sales")))


async def test_an_account_that_goes_takes_its_aliases_and_leaves_groups(world: World) -> None:
    await world.add("alice")
    bob = await world.add("bob")
    await world.aliases.add_alias(world.at("sales"), world.at("alice"))
    await world.aliases.add_group(world.at("team"), [world.at("alice"), world.at("bob")], Who.ANYONE, None)
    await world.aliases.set_catch_all(world.domain, world.at("alice"))
    await world.accounts.remove(world.at("alice"))
    assert await world.status("sales") is RecipientStatus.UNKNOWN
    assert (await world.aliases.get_group(world.at("team"))).members == (world.at("bob"),)
    assert await world.mail("team") == [DeliveryStatus.FILED]
    assert await world.count(bob) == 1
    await world.accounts.remove(world.at("bob"))
    assert await world.status("team") is RecipientStatus.UNKNOWN  # nobody is left
    await refused(RefusedCode.CONFLICT, world.domains.remove(world.domain))
    await world.aliases.remove_group(world.at("team"))
    await world.domains.remove(world.domain)


async def test_a_group_reaches_each_account_once(world: World) -> None:
    accounts = [await world.add(name) for name in ("a", "b", "c")]
    await world.aliases.add_alias(world.at("also-b"), world.at("b"))
    inner = [world.at("b"), world.at("c"), world.at("outer")]  # and back: a loop
    await world.aliases.add_group(world.at("inner"), inner, Who.ANYONE, None)
    outer = [world.at("a"), world.at("also-b"), world.at("inner"), world.at("gone"), "X@Far.test"]
    await world.aliases.add_group(world.at("outer"), outer, Who.ANYONE, world.at("a"))
    assert await world.mail("outer", "inner", "c") == [DeliveryStatus.FILED] * 3
    assert [await world.count(account) for account in accounts] == [1, 1, 1]
    (queued,) = await world.queued()
    assert (queued["domain"], [r["address"] for r in queued["recipients"]]) == ("far.test", ["x@far.test"])
    assert queued["reverse_path"] == world.at("a")  # the owner gets the bounces
    sent = bytes(queued["content"])
    assert sent.startswith(f"Delivered-To: {world.at('outer')}\r\nReceived: by us\r\n".encode())


async def test_who_may_write_to_a_group(world: World) -> None:
    alice, bob = await world.add("alice"), await world.add("bob")
    group = world.at("team")
    await world.aliases.add_group(group, [world.at("alice"), "x@far.test"], Who.MEMBERS, None)
    denied, allowed = RecipientStatus.NOT_PERMITTED, RecipientStatus.LOCAL
    assert await world.status("team") is denied
    assert await world.status("team", "") is denied
    assert await world.status("team", world.at("alice")) is denied  # anybody could say so
    assert await world.status("team", world.at("alice"), alice) is allowed
    assert await world.status("team", world.at("bob"), bob) is denied
    assert await world.status("team", "X@far.test") is allowed
    await world.aliases.change_group(group, {"owner": world.at("bob")})
    assert await world.status("team", world.at("bob"), bob) is allowed
    await world.aliases.change_group(group, {"who": Who.DOMAIN, "owner": None})
    assert await world.status("team", world.at("bob"), bob) is allowed
    assert await world.status("team", "x@far.test") is denied
    (found,) = await world.directory.resolve([group], sender=world.at("bob"), account_id=bob)
    assert (found.account_id, found.restricted) == (BY_ADDRESS, True)


async def test_members_come_and_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_api.directory.aliases.MAX_MEMBERS", 3)
    group = world.at("team")
    await world.aliases.add_group(group, ["a@far.test"], Who.ANYONE, None)
    both = await world.aliases.add_members(group, ["B@far.test", "a@far.test"])
    assert both.members == ("a@far.test", "b@far.test")
    await refused(RefusedCode.INVALID, world.aliases.add_members(group, ["c@far.test", "d@far.test"]))
    await refused(RefusedCode.NOT_FOUND, world.aliases.add_members(world.at("none"), ["c@far.test"]))
    await refused(RefusedCode.INVALID, world.aliases.add_members(group, ["nonsense"]))
    assert (await world.aliases.remove_members(group, ["A@far.test"])).members == ("b@far.test",)
    assert [one.address for one in await world.aliases.groups(world.domain, "", 5)] == [group]


async def test_one_member_without_room_does_not_keep_the_others_from_their_mail(world: World) -> None:
    full, other = await world.add("full", 1), await world.add("other")
    await world.aliases.add_group(world.at("team"), [world.at("full"), world.at("other")], Who.ANYONE, None)
    assert await world.mail("team") == [DeliveryStatus.FILED]
    assert [await world.count(full), await world.count(other)] == [1, 1]
    await world.aliases.set_forwarding(world.at("other"), [world.at("full")], keep=False)
    assert await world.mail("other", content=b"Subject: b\r\n\r\n") == [DeliveryStatus.OVER_QUOTA]  # one for one


async def test_forwarding_with_and_without_a_copy(world: World) -> None:
    alice, bob = await world.add("alice"), await world.add("bob")
    to = [world.at("bob"), "alice@far.test"]
    assert await world.aliases.set_forwarding(world.at("alice"), to, keep=True) == Forwarding(tuple(to), True)
    assert await world.mail("alice") == [DeliveryStatus.FILED]
    assert [await world.count(alice), await world.count(bob)] == [1, 1]
    (queued,) = await world.queued()
    path = queued["reverse_path"]
    assert path.startswith("SRS0=") and path.endswith("=elsewhere.test=sender@" + world.domain)
    away = await world.aliases.set_forwarding(world.at("alice"), ["alice@far.test"], keep=False)
    assert away == await world.aliases.forwarding(world.at("alice")) == Forwarding(("alice@far.test",), False)
    assert await world.mail("alice", content=b"Subject: b\r\n\r\n", sender="") == [DeliveryStatus.QUEUED]
    assert await world.mail("alice", content=b"Subject: c\r\n\r\n", sender=world.at("bob")) == [DeliveryStatus.QUEUED]
    assert [d["reverse_path"] for d in await world.queued()] == [path, "", world.at("bob")]
    assert await world.count(alice) == 1
    kept = await world.aliases.set_forwarding(world.at("alice"), [world.at("alice"), "x@far.test"], keep=False)
    assert kept == Forwarding(("x@far.test",), True)
    assert await world.aliases.set_forwarding(world.at("alice"), [], keep=False) == Forwarding((), True)


async def test_a_forward_offered_again_is_sent_on_once(world: World) -> None:
    await world.add("alice")
    await world.aliases.set_forwarding(world.at("alice"), ["alice@far.test"], keep=False)
    trace = trace_id()
    assert await world.mail("alice", trace=trace) == [DeliveryStatus.QUEUED]
    assert await world.mail("alice", trace=trace) == [DeliveryStatus.QUEUED]  # the call is repeated
    assert await world.mail("alice") == [DeliveryStatus.DUPLICATE]  # the message is
    assert len(await world.queued()) == 1


async def test_a_bounce_of_a_forward_goes_on_to_the_sender(world: World) -> None:
    await world.add("alice")
    await world.aliases.set_forwarding(world.at("alice"), ["alice@far.test"], keep=False)
    await world.mail("alice")
    (queued,) = await world.queued()
    path = queued["reverse_path"].rpartition("@")[0]
    for wrong in (path[:5] + "aaaaaa" + path[11:], path[:12] + "zz" + path[14:], path.replace("sender", "other")):
        assert await world.status(wrong, "") is RecipientStatus.UNKNOWN
    assert await world.status(path, "spam@far.test") is RecipientStatus.UNKNOWN
    assert await world.mail(
        path.upper().replace("SENDER", "sender"), sender="", content=b"Subject: bounce\r\n\r\n"
    ) == [DeliveryStatus.QUEUED]
    found = await world.db["queue"].find({"domain": "elsewhere.test", "content": b"Subject: bounce\r\n\r\n"})
    assert [r["address"].lower() for r in found[-1]["recipients"]] == [SENDER]
    assert found[-1]["reverse_path"] == ""


async def test_loops_end(world: World) -> None:
    alice, bob = await world.add("alice"), await world.add("bob")
    await world.aliases.set_forwarding(world.at("alice"), [world.at("bob")], keep=False)
    await world.aliases.set_forwarding(world.at("bob"), [world.at("alice")], keep=False)
    assert await world.mail("alice") == [DeliveryStatus.FILED]  # somebody must have it
    assert [await world.count(alice), await world.count(bob)] == [1, 0]
    await world.aliases.set_forwarding(world.at("alice"), ["alice@far.test"], keep=False)
    back = f"Delivered-To: <{world.at('ALICE')}>\r\nSubject: b\r\n\r\n".encode()
    assert await world.mail("alice", content=back) == [DeliveryStatus.FILED]
    assert not await world.queued()
    await world.aliases.add_group(world.at("team"), ["x@far.test", world.at("bob")], Who.ANYONE, None)
    back = f"Delivered-To: {world.at('team')}\r\nSubject: b\r\n\r\n".encode()
    assert await world.mail("team", content=back) == [DeliveryStatus.LOOP]
    for number in range(routes.MAX_DEPTH + 1):
        await world.aliases.add_group(world.at(f"g{number}"), [world.at(f"g{number + 1}")], Who.ANYONE, None)
    with pytest.raises(Failure):
        await world.directory.resolve([world.at("g0")])


async def test_a_group_has_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage_api.directory.routes.MAX_TARGETS", 2)
    await world.aliases.add_group(world.at("g"), [f"{n}@far.test" for n in range(3)], Who.ANYONE, None)
    with pytest.raises(Failure):
        await world.directory.resolve([world.at("g")])


async def test_catch_all_takes_what_nobody_has(world: World) -> None:
    alice = await world.add("alice")
    await world.add("bob")
    assert await world.status("anything") is RecipientStatus.UNKNOWN
    assert await world.aliases.set_catch_all(world.domain, world.at("Alice")) == world.at("alice")
    assert await world.mail("anything", "bob", "bob+tag") == [DeliveryStatus.FILED] * 3
    assert await world.count(alice) == 1
    await world.accounts.update(world.at("bob"), disabled=True)
    assert await world.status("bob") is RecipientStatus.DISABLED
    await world.aliases.set_catch_all(world.domain, "all@far.test")
    assert await world.mail("anything", content=b"Subject: b\r\n\r\n") == [DeliveryStatus.QUEUED]
    (queued,) = await world.queued()
    assert bytes(queued["content"]).startswith(f"Delivered-To: {world.at('anything')}\r\n".encode())
    await world.aliases.set_catch_all(world.domain, world.at("unknown"))  # leads to itself
    assert await world.status("anything") is RecipientStatus.UNKNOWN
    await world.aliases.set_catch_all(world.domain, None)
    assert await world.aliases.catch_all(world.domain) is None
    await refused(RefusedCode.NOT_FOUND, world.aliases.set_catch_all("nowhere.test", None))


async def test_roles_reach_somebody_in_every_domain(world: World, db: Database) -> None:
    await db["domains"].update_many({"created_at": {"$lt": 0}}, {"$set": {"created_at": 1}})
    alice = await world.add("alice", 1)
    await db["domains"].update_one({"_id": world.domain}, {"$set": {"created_at": -1}})
    other = World(db, world.store)
    await other.domains.add(other.domain)  # nobody is there: the platform's administrator
    assert await other.mail("postmaster", "abuse+x") == [DeliveryStatus.FILED] * 2  # over quota, too
    assert await world.count(alice) == 1
    await other.aliases.add_group(other.at("abuse"), ["desk@far.test"], Who.ANYONE, None)
    assert await other.mail("abuse", content=b"Subject: b\r\n\r\n") == [DeliveryStatus.QUEUED]
    other.pool.close()


async def test_a_large_group_is_accepted_first(world: World, db: Database) -> None:
    names = [f"m{number}" for number in range(70)]
    accounts = await asyncio.gather(*map(world.add, names))
    members = [world.at(name) for name in names]
    await world.aliases.add_group(world.at("all"), [*members, "x@far.test"], Who.ANYONE, None)
    assert await world.mail("all") == [DeliveryStatus.FILED]
    assert [await world.count(account) for account in accounts] == [1] * 70
    assert len(await world.queued()) == 1
    assert await db["accepted"].count({}) == 0


async def test_forwards_through_many_accounts_at_once_have_their_own_copies(world: World) -> None:
    big = MESSAGE + b"x" * 700_000
    for name in ("alice", "bob"):
        await world.add(name)
        await world.aliases.set_forwarding(world.at(name), [f"{name}@far.test"], keep=False)
    assert await world.mail("alice", "bob", content=big) == [DeliveryStatus.QUEUED] * 2
    queued = await world.queued()
    assert [d["recipients"][0]["address"] for d in queued] == ["alice@far.test", "bob@far.test"]
    assert len({bytes(d["content_id"]) for d in queued}) == 2
    assert replace(await world.aliases.forwarding(world.at("bob")), keep=True).to == ("bob@far.test",)


async def told(world: World, local: str, notify: str, trace: str, content: bytes) -> list[email.message.Message]:
    """The notices of a message to an address with this NOTIFY, each as its per-recipient block."""
    sender = f"{uuid7().hex()}@elsewhere.test"
    (resolved,) = await world.directory.resolve([world.at(local)], sender=sender)
    recipient = EnvelopeRecipient(world.at(local), resolved.account_id or NO_ACCOUNT, notify=notify, orcpt="rfc822;o@x")
    mail = Envelope(trace, sender, (recipient,), hashlib.sha256(content).digest(), envid="E7")
    for _ in range(2):  # the call is repeated
        await world.store.delivery.deliver(mail, content)
    await world.store.delivery.deliver(replace(mail, trace_id=trace_id()), content)  # the message is offered again
    notices = await world.db["notices"].find({"recipient": sender})
    blocks = [email.message_from_bytes(bytes(notice["content"])).get_payload()[1].get_payload() for notice in notices]
    assert all(len(block) == 2 for block in blocks)
    return [block[1] for block in blocks]


@pytest.mark.parametrize(
    ("notify", "passed_on"), [("SUCCESS", "NEVER"), ("SUCCESS,FAILURE", "FAILURE"), ("success,delay", "DELAY")]
)
async def test_what_stands_for_several_is_told_once_as_expanded(world: World, notify: str, passed_on: str) -> None:
    for name in ("alice", "bob"):
        await world.add(name)
    await world.aliases.add_group(
        world.at("team"), [world.at("alice"), world.at("bob"), "x@far.test"], Who.ANYONE, None
    )
    trace = trace_id()
    (block,) = await told(world, "team", notify, trace, MESSAGE)
    assert (block["Action"], block["Status"]) == ("expanded", "2.0.0")
    assert block["Final-Recipient"] == f"rfc822; {world.at('team')}"
    assert block["Original-Recipient"] == "rfc822; o@x"
    (queued,) = await world.db["queue"].find({"t": trace})
    assert [(r["notify"], r["orcpt"]) for r in queued["recipients"]] == [(passed_on, "rfc822;o@x")]
    assert queued["envid"] == "E7"
    await world.aliases.set_forwarding(world.at("alice"), ["y@far.test"], keep=True)
    (block,) = await told(world, "alice", notify, trace_id(), b"Subject: b\r\n\r\n")
    assert block["Action"] == "expanded"


async def test_a_list_with_an_owner_is_told_as_delivered_and_one_target_as_what_it_is(world: World) -> None:
    await world.add("alice")
    members = [world.at("alice"), "x@far.test"]
    await world.aliases.add_group(world.at("list"), members, Who.ANYONE, world.at("alice"))
    (block,) = await told(world, "list", "SUCCESS", trace_id(), MESSAGE)
    assert (block["Action"], block["Final-Recipient"]) == ("delivered", f"rfc822; {world.at('list')}")
    await world.aliases.set_forwarding(world.at("alice"), ["y@far.test"], keep=False)
    trace = trace_id()
    assert await told(world, "alice", "SUCCESS", trace, b"Subject: b\r\n\r\n") == []
    (queued,) = await world.db["queue"].find({"t": trace})
    assert queued["recipients"][0]["notify"] == "SUCCESS", "told when it is relayed"
    assert await told(world, "list", "FAILURE", trace_id(), b"Subject: c\r\n\r\n") == []
