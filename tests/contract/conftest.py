"""The implementations that must pass the contract; each test runs on every one of them.

memory        the fake
pymongo       the store on a real mongod, default driver
motor         the same on the other driver
http          the same behind storage_api's internal calls, through the client library, with each caller's own rights
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mailboat_common.asgi import AsgiServer
from mailboat_common.config import SecretFile
from mailboat_common.sockets import listening_socket
from mailboat_store_client.http import HttpStore
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.memory.queue import MemoryQueue
from mailboat_store_client.ports import Delivery, Directory, MailboxRead, MailboxWrite, Trace
from mailboat_store_client.queue import Job, Queue, QueueId, Transport
from mailboat_store_client.types import AccountId, MailboxChanged
from storage_api.assembly import ApiStore
from storage_api.db.driver import Database, connect
from storage_api.db.migrations import migrate
from storage_api.directory.accounts import Accounts, Secret
from storage_api.directory.aliases import Aliases, Who
from storage_api.directory.authenticate import Authenticator
from storage_api.directory.domains import Domains
from storage_api.directory.passwords import PasswordPool
from storage_api.directory.resolve import MongoDirectory
from storage_api.directory.schema import STEPS
from storage_api.internal.app import InternalApp
from storage_api.internal.callers import Callers
from storage_api.queue.documents import job_of
from storage_api.queue.port import MongoQueue
from storage_api.queue.transports import Transports
from storage_api.store.hooks import Hooks
from storage_api.store.mongo import MongoStore

from tests.support.contract import World
from tests.support.mongod import Mongod, mongod

__all__ = ["mongod"]

DOMAIN = "example.test"
PASSWORD = "correct horse battery"
_DATABASE = f"contract_{uuid.uuid4().hex[:12]}"
_numbers = itertools.count(1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def memory_world(_mongod: Callable[[], Mongod], _tmp: Path) -> AsyncIterator[World]:
    store = MemoryStore()
    events: asyncio.Queue[MailboxChanged] = asyncio.Queue()
    store.subscribe(events.put_nowait)

    async def make_account(quota: int, messages: int) -> tuple[AccountId, str]:
        address = f"user{next(_numbers)}@{DOMAIN}"
        return store.add_account(address, PASSWORD, quota, messages), address

    async def usage_of(account_id: AccountId) -> int:
        return store.account(account_id).usage

    async def disable(account_id: AccountId) -> None:
        store.close_account(account_id)

    async def set_retention(account_id: AccountId, days: int) -> None:
        store.account(account_id).retention_days = days

    async def make_group(members: list[str], who: str) -> str:
        address = f"group{next(_numbers)}@{DOMAIN}"
        store.add_group(address, members, who)
        return address

    mail_out = MemoryMailOut(store.queue)
    yield World(store, events, make_account, usage_of, disable, PASSWORD, set_retention, mail_out, make_group)


class MemoryMailOut:
    """`MailOut` of the fake."""

    def __init__(self, queue: MemoryQueue) -> None:
        self._queue = queue

    async def jobs(self, trace_id: str) -> list[Job]:
        jobs = self._queue.jobs()
        ours = [job for job in jobs if self._queue.documents[job.queue_id].envelope.trace_id == trace_id]
        return sorted(ours, key=lambda job: job.domain)

    async def end_lease(self, queue_id: QueueId) -> None:
        self._queue.documents[queue_id].lease_until = 0

    async def hold(self, queue_id: QueueId) -> None:
        self._queue.documents[queue_id].held = True

    async def route(self, key: str, transport: Transport) -> None:
        self._queue.transports[key] = transport


class MongoMailOut:
    """`MailOut` of the store."""

    def __init__(self, db: Database, queue: MongoQueue) -> None:
        self._db = db
        self._queue = queue

    async def jobs(self, trace_id: str) -> list[Job]:
        claimed = await self._db["queue"].find({"t": trace_id, "state": "claimed", "lease_until": 0})
        await self._queue.end_leases([(d["_id"], d["token"]) for d in claimed])
        ready = await self._db["queue"].find({"t": trace_id, "state": "ready"}, sort=[("domain", 1)])
        return [job_of(document) for document in ready]

    async def end_lease(self, queue_id: QueueId) -> None:
        await self._db["queue"].update_one({"_id": queue_id}, {"$set": {"lease_until": 0, "due": 0}})

    async def hold(self, queue_id: QueueId) -> None:
        await self._db["queue"].update_one({"_id": queue_id}, {"$set": {"state": "held"}, "$unset": {"due": ""}})

    async def route(self, key: str, transport: Transport) -> None:
        await Transports(self._db, self._queue.transports.forget).put(key, transport)


@asynccontextmanager
async def mongo_world(server: Mongod, driver: str) -> AsyncIterator[World]:
    db = connect(server.uri, app="contract", database=_DATABASE, driver=driver)
    await migrate(db, STEPS)
    events: asyncio.Queue[MailboxChanged] = asyncio.Queue()

    def committed(news: list[MailboxChanged]) -> None:
        for one in news:
            events.put_nowait(one)

    mongo = MongoStore(db, Hooks(on_commit=committed, on_trace=lambda _events: None))
    passwords = PasswordPool()
    authenticator = Authenticator(db, passwords, now_ms)
    directory = MongoDirectory(db, authenticator, now_ms)
    accounts = Accounts(
        db, passwords, authenticator.verified, now_ms, changed=directory.forget, publish=lambda _news: None
    )
    if not await db["domains"].count({}):
        await Domains(db, now_ms, directory.forget).add(DOMAIN)
    hashed = await passwords.hash(PASSWORD)

    async def make_account(quota: int, messages: int) -> tuple[AccountId, str]:
        address = f"user{uuid.uuid4().hex[:8]}@{DOMAIN}"
        account = await accounts.create(address, Secret(password_hash=hashed), quota, quota_messages=messages)
        return account.account_id, account.address

    async def usage_of(account_id: AccountId) -> int:
        document = await db["accounts"].find_one({"_id": account_id})
        assert document is not None
        return int(document["usage"]["bytes"])

    async def set_retention(account_id: AccountId, days: int) -> None:
        await db["accounts"].update_one({"_id": account_id}, {"$set": {"pop3_retention_days": days}})

    store = ApiStore(mongo, directory)

    async def disable(account_id: AccountId) -> None:
        await db["accounts"].update_one({"_id": account_id}, {"$set": {"disabled": True}})

    aliases = Aliases(db, now_ms, directory.forget)

    async def make_group(members: list[str], who: str) -> str:
        address = f"group{uuid.uuid4().hex[:8]}@{DOMAIN}"
        return (await aliases.add_group(address, members, Who(who), None)).address

    mail_out = MongoMailOut(db, mongo.queue)
    yield World(store, events, make_account, usage_of, disable, PASSWORD, set_retention, mail_out, make_group)
    await mongo.close()
    passwords.close()


@asynccontextmanager
async def pymongo_world(server: Callable[[], Mongod], _tmp: Path) -> AsyncIterator[World]:
    async with mongo_world(server(), "pymongo") as world:
        yield world


@asynccontextmanager
async def motor_world(server: Callable[[], Mongod], _tmp: Path) -> AsyncIterator[World]:
    async with mongo_world(server(), "motor") as world:
        yield world


@dataclass(frozen=True, slots=True)
class CallersOf:
    """The ports as the services have them: each from the client of one that may use it."""

    directory: Directory
    read: MailboxRead
    write: MailboxWrite
    delivery: Delivery
    queue: Queue
    trace: Trace
    clients: tuple[HttpStore, ...]

    async def ready(self) -> bool:
        return all([await client.ready() for client in self.clients])

    async def close(self) -> None:
        for client in self.clients:
            await client.close()


class WithMaildrop:
    """The IMAP gateway's reads or mutations, with those of the maildrop as the POP3 gateway asks for them."""

    def __init__(self, imap: MailboxRead | MailboxWrite, pop3: MailboxRead | MailboxWrite) -> None:
        self._imap, self._pop3 = imap, pop3

    def __getattr__(self, name: str) -> object:
        return getattr(self._pop3 if "maildrop" in name or name == "record_retrieved" else self._imap, name)


@asynccontextmanager
async def http_world(server: Callable[[], Mongod], tmp: Path) -> AsyncIterator[World]:
    callers = ("smtp_ingress", "imap_gateway", "pop3_gateway", "delivery_worker")
    tokens = {caller: uuid.uuid4().hex for caller in callers}
    (tmp / "tokens.json").write_text(json.dumps({caller: [token] for caller, token in tokens.items()}))
    async with mongo_world(server(), "pymongo") as world:
        app = InternalApp(world.store, Callers(SecretFile(tmp / "tokens.json")), ready=lambda: True)
        asgi = AsgiServer(app, listening_socket("127.0.0.1", 0, "test"))
        await asgi.start()
        clients = {c: HttpStore([f"http://127.0.0.1:{asgi.port}"], partial(tokens.__getitem__, c)) for c in callers}
        for client in clients.values():
            await client.start()
        smtp, imap, pop3, worker = (clients[c] for c in callers)
        read: Any = WithMaildrop(imap.read, pop3.read)
        write: Any = WithMaildrop(imap.write, pop3.write)
        store = CallersOf(smtp.directory, read, write, smtp.delivery, worker.queue, imap.trace, tuple(clients.values()))
        yield World(
            store,
            world.events,
            world.make_account,
            world.usage_of,
            world.disable,
            world.password,
            world.set_retention,
            world.mail_out,
            world.make_group,
        )
        await store.close()
        await asgi.stop(asyncio.get_running_loop().time() + 1)


WORLDS = {"memory": memory_world, "pymongo": pymongo_world, "motor": motor_world, "http": http_world}


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """One store under test with a fresh account."""

    def server() -> Mongod:
        found: Mongod = request.getfixturevalue("mongod")
        return found

    async with WORLDS[request.param](server, tmp_path) as made:
        made.account, made.address = await made.make_account(0, 0)
        yield made
