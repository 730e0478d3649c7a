"""Domains, accounts, logins and who an address leads to, on a real mongod."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import bcrypt
import pytest
from mailboat_common.errors import Refused, RefusedCode, Unavailable
from mailboat_common.ids import uuid7
from mailboat_store_client.types import AccountId, AuthStatus, MailboxChanged, RecipientStatus
from storage_api.db.driver import Database
from storage_api.db.migrations import migrate
from storage_api.directory import throttle
from storage_api.directory.accounts import Accounts, PutResult, Secret, cursor
from storage_api.directory.authenticate import Authenticator
from storage_api.directory.domains import Domains
from storage_api.directory.passwords import PasswordPool
from storage_api.directory.resolve import MongoDirectory
from storage_api.directory.schema import STEPS
from storage_api.outage import transact

PASSWORD = "correct horse"
BCRYPT = "{BCRYPT}" + bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
_numbers = itertools.count(1)


class World:
    """A directory with one domain of its own. `now` is the clock, in ms."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.now = 1_800_000_000_000
        self.pool = PasswordPool(2)
        self.news: list[MailboxChanged] = []
        self.domain = f"d{next(_numbers)}.{uuid7().hex()}.test"
        self.logins = self.process()
        self.directory = MongoDirectory(db, self.logins, lambda: self.now)
        self.domains = Domains(db, lambda: self.now, self.directory.forget)
        self.accounts = Accounts(
            db,
            self.pool,
            self.logins.verified,
            lambda: self.now,
            changed=self.directory.forget,
            publish=self.news.extend,
        )

    def process(self) -> Authenticator:
        """What another replica has: nothing in common but the database."""
        return Authenticator(self.db, self.pool, lambda: self.now)

    def at(self, local: str) -> str:
        return f"{local}@{self.domain}"

    async def add(self, local: str, quota: int = 0) -> AccountId:
        self.now += 1
        return (await self.accounts.create(self.at(local), Secret(PASSWORD), quota)).account_id

    async def login(self, local: str, password: str = PASSWORD, client: str = "192.0.2.1") -> AuthStatus:
        return (await self.logins.authenticate(self.at(local), password, client)).status

    async def status(self, local: str) -> RecipientStatus:
        return (await self.directory.resolve([self.at(local)]))[0].status


@pytest.fixture
async def world(db: Database) -> AsyncIterator[World]:
    await migrate(db, STEPS)
    made = World(db)
    await made.domains.add(made.domain)
    yield made
    made.pool.close()


async def refused(code: RefusedCode, work) -> None:
    with pytest.raises(Refused) as error:
        await work
    assert error.value.code is code


async def test_an_account_comes_whole(world: World) -> None:
    account_id = await world.add("Alice", 1000)
    account = await world.accounts.get(world.at("ALICE"))
    assert (account.account_id, account.address, account.quota_bytes) == (account_id, world.at("alice"), 1000)
    names = [m["name"] for m in await world.db["mailboxes"].find({"a": account_id})]
    assert sorted(names) == ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]
    assert (await world.domains.get(world.domain)).admin == world.at("alice")
    await refused(RefusedCode.ALREADY_EXISTS, world.add("alice"))
    await refused(RefusedCode.NOT_FOUND, world.accounts.create("a@nowhere.test", Secret(PASSWORD)))
    await refused(RefusedCode.INVALID, world.accounts.create(world.at("b"), Secret("short")))
    await refused(RefusedCode.INVALID, world.accounts.create(world.at("b"), Secret()))
    await refused(RefusedCode.NOT_FOUND, world.accounts.get(world.at("b")))


async def test_of_one_address_taken_at_once_one_account_comes(world: World) -> None:
    other = World(world.db)
    other.domain = world.domain
    results = await asyncio.gather(
        *(w.accounts.create(w.at("x"), Secret(None, BCRYPT)) for w in (world, other) for _ in range(4)),
        return_exceptions=True,
    )
    taken = [r.code for r in results if isinstance(r, Refused)]
    assert taken == [RefusedCode.ALREADY_EXISTS] * 7
    assert await world.db["accounts"].count({"address": world.at("x")}) == 1
    other.pool.close()


async def test_resolve_tells_each_address_apart(world: World) -> None:
    alice = await world.add("alice")
    await world.add("bob")
    await world.accounts.update(world.at("bob"), disabled=True)
    assert [news.account_closed for news in world.news] == [True]
    carol = await world.add("carol", 10)
    await world.db["accounts"].update_one({"_id": carol}, {"$set": {"usage.bytes": 10}})
    asked = [world.at("alice"), world.at("Alice+Lists"), world.at("bob"), world.at("carol"), world.at("dave")]
    found = await world.directory.resolve([*asked, "x@elsewhere.test", "nonsense", "x@[192.0.2.1]"])
    assert [r.address for r in found[:5]] == asked
    assert [r.status for r in found] == [
        RecipientStatus.LOCAL,
        RecipientStatus.LOCAL,
        RecipientStatus.DISABLED,
        RecipientStatus.OVER_QUOTA,
        RecipientStatus.UNKNOWN,
        *[RecipientStatus.NOT_LOCAL] * 3,
    ]
    assert [(r.account_id, r.mailbox) for r in found[:2]] == [(alice, None), (alice, "lists")]
    assert found[3].account_id == carol


async def test_role_addresses_reach_the_administrator(world: World) -> None:
    alice = await world.add("alice", 10)
    bob = await world.add("bob")
    await world.db["accounts"].update_one({"_id": alice}, {"$set": {"usage.bytes": 10}})

    async def reached(local: str) -> AccountId | None:
        (found,) = await world.directory.resolve([world.at(local)])
        assert found.status is RecipientStatus.LOCAL
        return found.account_id

    assert await reached("Postmaster") == alice  # over quota or not
    assert await reached("abuse+x") == alice
    await world.domains.set_admin(world.domain, world.at("bob"))
    assert await reached("abuse") == bob
    await world.accounts.remove(world.at("bob"))
    assert await reached("abuse") == alice
    own = await world.add("abuse")
    assert await reached("abuse") == own
    (bare,) = await world.directory.resolve(["Postmaster"])
    assert bare.status in (RecipientStatus.LOCAL, RecipientStatus.UNKNOWN)  # that of the oldest domain


async def test_a_role_does_not_own_a_senders_address(world: World) -> None:
    alice, bob = await world.add("alice"), await world.add("bob")
    asked = [world.at("alice"), world.at("alice+x"), world.at("postmaster"), world.at("bob"), "a@elsewhere.test", ""]
    assert await world.directory.owns(alice, asked) == [True, True, False, False, False, False]
    assert await world.directory.owns(bob, asked) == [False, False, False, True, False, False]


async def test_logins(world: World) -> None:
    account_id = await world.add("alice")
    result = await world.logins.authenticate(world.at("ALICE"), PASSWORD, "192.0.2.1")
    assert (result.status, result.account_id, result.login) == (AuthStatus.OK, account_id, world.at("alice"))
    assert await world.login("alice", "wrong password") is AuthStatus.BAD_CREDENTIALS
    assert await world.login("nobody") is AuthStatus.BAD_CREDENTIALS
    assert await world.login("alice+tag") is AuthStatus.BAD_CREDENTIALS  # a tag is no login
    await world.accounts.update(world.at("alice"), disabled=True)
    assert await world.login("alice") is AuthStatus.DISABLED
    assert await world.login("alice", "wrong password") is AuthStatus.BAD_CREDENTIALS  # says nothing to guessers
    await world.accounts.update(world.at("alice"), disabled=False)
    await world.accounts.remove(world.at("alice"))
    assert await world.login("alice") is AuthStatus.BAD_CREDENTIALS


async def test_a_known_login_costs_no_hash_until_the_password_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add("alice")
    assert await world.login("alice") is AuthStatus.OK
    verified: list[str] = []
    verify = world.pool.verify

    async def counted(stored: str | None, password: str) -> bool:
        verified.append(password)
        return await verify(stored, password)

    monkeypatch.setattr(world.pool, "verify", counted)
    for client in ("192.0.2.1", "192.0.2.9", "192.0.2.9"):
        assert await world.login("alice", client=client) is AuthStatus.OK
    assert verified == []
    await world.accounts.update(world.at("alice"), secret=Secret("another horse"))
    assert await world.login("alice") is AuthStatus.BAD_CREDENTIALS
    assert await world.login("alice", "another horse") is AuthStatus.OK
    world.now += 3_600_001
    assert await world.login("alice", "another horse") is AuthStatus.OK
    assert verified == [PASSWORD, "another horse", "another horse"]


async def test_logins_at_once_cost_one_hash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a person's connections come at once when a gateway has died."""
    await world.add("alice")
    verify = world.pool.verify
    verified: list[str] = []

    async def counted(stored: str | None, password: str) -> bool:
        verified.append(password)
        return await verify(stored, password)

    monkeypatch.setattr(world.pool, "verify", counted)
    answers = await asyncio.gather(*(world.login("alice", client=f"192.0.2.{number}") for number in range(20)))
    assert set(answers) == {AuthStatus.OK}
    assert verified == [PASSWORD]


async def test_imported_hashes_are_replaced_at_login(world: World) -> None:
    account = await world.accounts.create(world.at("old"), Secret(None, BCRYPT))
    assert await world.login("old", "wrong password") is AuthStatus.BAD_CREDENTIALS
    assert await world.login("old") is AuthStatus.OK
    credential = await world.db["credentials"].find_one({"_id": account.account_id})
    assert credential["hash"].startswith("$argon2id$")
    assert await world.login("old") is AuthStatus.OK
    # The import repeated finds nothing to do, though the hash is another by now.
    assert await world.accounts.put(world.at("old"), Secret(None, BCRYPT), None) is PutResult.UNCHANGED


async def test_put_is_idempotent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    put, at = world.accounts.put, world.at("p")
    assert await put(at, Secret(PASSWORD), 5) is PutResult.CREATED

    async def no_hash(password: str) -> str:
        raise AssertionError("hashed again")

    with monkeypatch.context() as patch:
        patch.setattr(world.pool, "hash", no_hash)
        assert await put(at, Secret(PASSWORD), 5) is PutResult.UNCHANGED
        assert await put(at, Secret(PASSWORD), None) is PutResult.UNCHANGED
        assert await put(at, Secret(PASSWORD), 6) is PutResult.UPDATED
        assert await put(at, Secret(None, BCRYPT), 6) is PutResult.UPDATED
        assert await put(at, Secret(None, BCRYPT), 6) is PutResult.UNCHANGED
    assert await put(at, Secret("another horse"), 6) is PutResult.UPDATED
    assert await world.login("p", "another horse") is AuthStatus.OK


async def test_guessing_at_a_login_closes_it_for_strangers_only(world: World) -> None:
    await world.add("alice")
    assert await world.login("alice", client="198.51.100.7") is AuthStatus.OK
    for number in range(throttle.LOGIN_FREE + 1):
        guess = await world.login("alice", f"guess {number}", client=f"192.0.2.{number}")
        assert guess is AuthStatus.BAD_CREDENTIALS
    assert await world.login("alice", client="203.0.113.1") is AuthStatus.THROTTLED
    assert await world.login("alice", client="198.51.100.7") is AuthStatus.OK  # where it was good before
    other = await world.process().authenticate(world.at("alice"), PASSWORD, "203.0.113.2")
    assert other.status is AuthStatus.THROTTLED  # every process knows
    world.now += 2_001
    assert await world.login("alice", client="203.0.113.1") is AuthStatus.OK
    assert await world.db["throttle"].find_one({"_id": throttle.login_key(world.at("alice"))}) is None


async def test_a_guessing_client_is_closed_out_of_every_login(world: World) -> None:
    await world.add("alice")
    client = "2001:db8:1:2::%x"
    for number in range(throttle.CLIENT_FREE + 1):
        status = await world.login(f"nobody{number}", client=client % number)
        assert status is AuthStatus.BAD_CREDENTIALS
    assert await world.login("alice", client=client % 999) is AuthStatus.THROTTLED
    assert await world.login("alice", client="2001:db8:1:3::1") is AuthStatus.OK
    key = throttle.client_key(client % 1)
    windows = []
    for number in range(3):
        document = await world.db["throttle"].find_one({"_id": key})
        windows.append(document["until"] - document["at"])
        world.now = document["until"] + 1
        assert await world.login(f"nobody{number}", client=client % 5) is AuthStatus.BAD_CREDENTIALS
    assert windows == [2000, 4000, 8000]
    await world.db["throttle"].update_one({"_id": key}, {"$set": {"n": 10_000, "until": 0}})
    world.now += 1
    fresh = world.process()
    await fresh.authenticate(world.at("nobody"), "guess", client % 5)
    document = await world.db["throttle"].find_one({"_id": key})
    assert document["until"] - document["at"] == throttle.LONGEST_SECONDS * 1000
    world.now += throttle.FORGET_MS + 1
    await fresh.authenticate(world.at("nobody"), "guess", client % 5)
    assert (await world.db["throttle"].find_one({"_id": key}))["n"] == 1


async def test_removing_an_account_frees_its_name_and_tells_its_sessions(world: World) -> None:
    first = await world.add("alice")
    await world.accounts.remove(world.at("alice"))
    assert await world.status("alice") is RecipientStatus.UNKNOWN
    *gone, closed = world.news
    assert len(gone) == 6
    assert all(news.deleted and news.account_id == first for news in gone)
    assert closed.account_closed and closed.account_id == first
    assert await world.db["mailboxes"].count({"a": first, "deleted_at": {"$exists": True}}) == 6
    assert await world.db["mailboxes"].count({"a": first, "name": {"$exists": True}}) == 0
    second = await world.add("alice")
    assert second != first
    assert await world.login("alice") is AuthStatus.OK
    listed = await world.accounts.page(world.domain, "", 10)
    assert [account.account_id for account in listed] == [second]


async def test_a_domain_goes_only_without_accounts(world: World) -> None:
    await world.add("alice")
    await refused(RefusedCode.CONFLICT, world.domains.remove(world.domain))
    await world.accounts.remove(world.at("alice"))
    await world.domains.remove(world.domain)
    await refused(RefusedCode.NOT_FOUND, world.domains.remove(world.domain))
    await refused(RefusedCode.NOT_FOUND, world.domains.get(world.domain))
    assert await world.status("alice") is RecipientStatus.NOT_LOCAL
    await world.domains.add(world.domain.upper())
    await refused(RefusedCode.ALREADY_EXISTS, world.domains.add(world.domain))
    await refused(RefusedCode.NOT_FOUND, world.domains.set_admin(world.domain, world.at("alice")))


async def test_a_domain_removed_while_an_account_is_made_leaves_no_orphan(world: World) -> None:
    for number in range(5):
        made, gone = await asyncio.gather(
            world.accounts.create(world.at(f"u{number}"), Secret(None, BCRYPT)),
            world.domains.remove(world.domain),
            return_exceptions=True,
        )
        assert isinstance(made, Refused) != isinstance(gone, Refused)
        if isinstance(made, Refused):
            await world.domains.add(world.domain)
        else:
            await world.accounts.remove(world.at(f"u{number}"))


async def test_pages_of_accounts(world: World) -> None:
    other = World(world.db)
    await other.domains.add(other.domain)
    made = [world.at(f"a{number}") for number in range(5)] + [other.at("b")]
    for address in made:
        await world.accounts.create(address, Secret(None, BCRYPT))

    async def walk(domain: str | None) -> list[str]:
        seen, after = [], ""
        while page := await world.accounts.page(domain, after, 2):
            seen += [account.address for account in page]
            after = cursor(page[-1])
        return seen

    assert await walk(world.domain) == made[:5]
    everything = await walk(None)
    assert len(everything) == len(set(everything))
    assert set(made) <= set(everything)
    names = [domain.name for domain in await world.domains.page("", 1000)]
    assert names == sorted(names)
    assert world.domain in names
    other.pool.close()


async def test_transactions_give_up_at_their_deadline(world: World) -> None:
    tries = 0

    async def conflict(session) -> None:
        nonlocal tries
        tries += 1
        async with world.db.session() as other:
            await other.begin()
            await world.db["domains"].update_one({"_id": world.domain}, {"$inc": {"x": 1}}, session=other)
            try:
                await world.db["domains"].update_one({"_id": world.domain}, {"$inc": {"x": 1}}, session=session)
            finally:
                await other.abort()

    with pytest.raises(Unavailable):
        await transact(world.db, conflict, seconds=1.0)
    assert tries > 1
