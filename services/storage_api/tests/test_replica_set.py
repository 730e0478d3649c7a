"""The process beside mongod, on a real mongod with access control: made, kept, killed in between, refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import structlog
from mailboat_common.config import SecretFile, SettingsError, parse
from mailboat_common.ids import trace_id
from mailboat_store_client.types import Envelope, EnvelopeRecipient
from storage_api.db.driver import Database, Document, OperationFailure, connect, connect_member
from storage_api.db.migrations import migrate
from storage_api.directory.schema import STEPS
from storage_api.replica_set import keeper as keeper_module
from storage_api.replica_set import member as member_module
from storage_api.replica_set.keeper import Keeper
from storage_api.replica_set.member import ROLE, Member, NotYet, Step, Wanted, WrongPassword
from storage_api.replica_set.settings import Settings
from storage_api.space import Space
from storage_api.store.leftovers import check_privileges, end_idle_transactions
from storage_api.store.mongo import MongoStore
from structlog.typing import Processor

from tests.support.mongod import REPLICA_SET, Mongod, free_port
from tests.support.store import MESSAGE, check_account, new_account

ADMIN_PASSWORD = "root-geheim-1"
PASSWORD = "storage-geheim-1"


class Passwords:
    """The two secrets, to be changed by the test."""

    def __init__(self) -> None:
        self.admin = ADMIN_PASSWORD
        self.storage = PASSWORD

    def wanted(self, host: str) -> Wanted:
        return Wanted(host, REPLICA_SET, "admin", lambda: self.admin, "mailboat", lambda: self.storage, "mailboat")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Mongod]:
    """A mongod with a key file and nothing in it."""
    made = Mongod(tmp_path / "mongod", cache_gb=0.25, access_control=True)
    yield made.start()
    made.kill()


@pytest.fixture
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Everything logged, as it is written."""
    written = io.StringIO()
    processors: list[Processor] = [structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    for module in (keeper_module, member_module):
        monkeypatch.setattr(module, "log", structlog.wrap_logger(structlog.WriteLogger(written), processors))
    return written


@asynccontextmanager
async def member_of(server: Mongod, passwords: Passwords, host: str = "") -> AsyncIterator[Member]:
    """A new process's member."""
    made = Member(server.port, passwords.wanted(host or f"127.0.0.1:{server.port}"))
    try:
        yield made
    finally:
        await made.close()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Asks again and again: what is awaited happens in another process."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.05)


async def until_done(member: Member, seconds: float = 30.0) -> None:
    """Rounds until all is as wanted."""
    await until(Keeper(member).round, seconds)
    assert member.reached == Step.USERS


def uri(server: Mongod, password: str = PASSWORD, host: str = "127.0.0.1") -> str:
    """MB_MONGODB_URI as the chart writes it."""
    return f"mongodb://mailboat:{password}@{host}:{server.port}/mailboat?replicaSet={REPLICA_SET}&authSource=admin"


@asynccontextmanager
async def storage(uri: str) -> AsyncIterator[Database]:
    db = connect(uri, app="test", serverSelectionTimeoutMS=10_000)
    try:
        yield db
    finally:
        await db.close()


async def as_admin(server: Mongod, command: Document, password: str = ADMIN_PASSWORD) -> Document:
    db = connect_member(f"127.0.0.1:{server.port}", app="test", user="admin", password=password)
    try:
        return await db.command(command)
    finally:
        await db.close()


async def fails_with(code: int, db: Database, command: dict[str, object]) -> None:
    with pytest.raises(OperationFailure) as failure:
        await db.command(command)
    assert failure.value.code == code


async def test_from_nothing_to_a_store_that_delivers(server: Mongod, passwords: Passwords, lines: io.StringIO) -> None:
    async with member_of(server, passwords) as member:
        assert member.reached == Step.NOTHING
        await until_done(member)
        first = await as_admin(server, {"usersInfo": 1, "showCredentials": True})
        version = await as_admin(server, {"replSetGetConfig": 1})
        for _ in range(3):
            await member.mend()
    async with member_of(server, passwords) as another:
        await another.mend()
        assert another.reached == Step.USERS
    assert await as_admin(server, {"usersInfo": 1, "showCredentials": True}) | {
        "operationTime": 0,
        "$clusterTime": 0,
    } == (first | {"operationTime": 0, "$clusterTime": 0})
    again = await as_admin(server, {"replSetGetConfig": 1})
    assert again["config"] == version["config"], "nothing is written when nothing is missing"
    async with storage(uri(server)) as db:
        assert await db.ping()
        await migrate(db, STEPS)
        assert await check_privileges(db) == []
        assert await end_idle_transactions(db) == 0
        await Space(db, 0.0).check()
        store = MongoStore(db)
        account = await new_account(db)
        envelope = Envelope(
            trace_id(),
            "s@elsewhere.example",
            (EnvelopeRecipient("a@example.test", account),),
            hashlib.sha256(MESSAGE).digest(),
        )
        await store.delivery.deliver(envelope, MESSAGE)
        (inbox,) = [found for found in (await check_account(db, account)).values() if found.living]
        assert inbox.living == [1]
        await store.committer.close()
    assert ADMIN_PASSWORD not in lines.getvalue()
    assert PASSWORD not in lines.getvalue()


async def test_the_stores_user_may_do_no_more_than_it_needs(server: Mongod, passwords: Passwords) -> None:
    async with member_of(server, passwords) as member:
        await until_done(member)
    await as_admin(server, {"createUser": "other", "pwd": "x", "roles": [{"role": "readWrite", "db": "shop"}]})
    async with storage(uri(server)) as db:
        unauthorized = 13
        for name in ("shop", "admin", "local", "config"):
            async with storage(uri(server).replace("/mailboat?", f"/{name}?")) as foreign:
                await fails_with(unauthorized, foreign, {"find": "things"})
                await fails_with(unauthorized, foreign, {"insert": "things", "documents": [{}]})
        for command in (
            {"createUser": "evil", "pwd": "x", "roles": ["root"]},
            {"grantRolesToUser": "mailboat", "roles": ["root"]},
            {"updateUser": "mailboat", "pwd": "x"},
            {"usersInfo": 1},
            {"replSetReconfig": {}, "force": True},
            {"shutdown": 1},
        ):
            with pytest.raises(OperationFailure) as refused:
                await db.admin_command(command)
            assert refused.value.code == unauthorized, command
        await fails_with(unauthorized, db, {"createUser": "evil", "pwd": "x", "roles": []})


async def test_roles_that_somebody_changed_are_corrected(server: Mongod, passwords: Passwords) -> None:
    async with member_of(server, passwords) as member:
        await until_done(member)
        await as_admin(server, {"updateUser": "mailboat", "roles": ["root"]})
        await as_admin(server, {"updateRole": ROLE, "privileges": [], "roles": ["root"]})
        await until_done(member)
        async with storage(uri(server)) as db:
            assert await check_privileges(db) == []
            await fails_with(13, db, {"createUser": "evil", "pwd": "x", "roles": []})
        await as_admin(server, {"dropUser": "mailboat"})
        await as_admin(server, {"dropRole": ROLE})
        await until_done(member)
        async with storage(uri(server)) as db:
            assert await check_privileges(db) == []


async def test_changed_passwords_are_set(server: Mongod, passwords: Passwords) -> None:
    async with member_of(server, passwords) as member:
        await until_done(member)
        await member.mend()  # the password is verified
        passwords.storage = "storage-geheim-2"
        await until_done(member)
        async with storage(uri(server, "storage-geheim-2")) as db:
            assert await db.ping()
        passwords.admin = "root-geheim-2"
        await until_done(member)
        assert (await as_admin(server, {"ping": 1}, "root-geheim-2"))["ok"] == 1
        with pytest.raises(OperationFailure):
            await as_admin(server, {"ping": 1}, ADMIN_PASSWORD)
        # by hand, to something else: the next round sees that what is stored has changed
        await as_admin(server, {"updateUser": "mailboat", "pwd": "by hand"}, "root-geheim-2")
        await until_done(member)
        async with storage(uri(server, "storage-geheim-2")) as db:
            assert await db.ping()


async def test_a_changed_name_is_recorded(server: Mongod, passwords: Passwords) -> None:
    """Also before there is a user; both names lead here, so the set works all the time and only its record is old."""
    renamed = f"localhost:{server.port}"
    async with member_of(server, passwords) as member:
        await member.configure({})
    async with member_of(server, passwords, renamed) as member:
        await until_done(member)
    async with storage(uri(server, host="localhost")) as db:
        assert await db.ping()
    async with member_of(server, passwords) as member:
        await until_done(member)
        answer = await as_admin(server, {"replSetGetConfig": 1})
    assert [each["host"] for each in answer["config"]["members"]] == [f"127.0.0.1:{server.port}"]


async def test_data_that_moved_to_another_name(server: Mongod, passwords: Passwords) -> None:
    """mongod doesn't find itself in the recorded set and is no member of anything until it is reconfigured."""
    async with member_of(server, passwords) as member:
        await until_done(member)
    server.kill()
    server.port = free_port()
    server.start()
    async with member_of(server, passwords) as member:
        await until_done(member)
    async with storage(uri(server)) as db:
        assert await db.ping()


async def test_a_name_that_resolves_only_after_mongod_started(server: Mongod, passwords: Passwords) -> None:
    """mongod looks for itself at its start only; the name is right and is recorded again once it leads here."""
    recorded = free_port()
    name = f"localhost:{recorded}"

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer), return_exceptions=True)

    async with member_of(server, passwords, name) as member:
        keeper = Keeper(member)
        assert not await keeper.round(), "the name leads nowhere"
        leads_here = await asyncio.start_server(forward, "127.0.0.1", recorded)
        await until_done(member)
        leads_here.close()
        server.kill()
        server.start()
        assert not await keeper.round()
        leads_here = await asyncio.start_server(forward, "127.0.0.1", recorded)
        await until_done(member)
        leads_here.close()
        answer = await as_admin(server, {"replSetGetConfig": 1})
    assert [each["host"] for each in answer["config"]["members"]] == [name]


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_killed_between_two_steps(server: Mongod, passwords: Passwords, steps: int) -> None:
    """1: the set is initiated, 2: the administrator is made, 3: the role is. Power is cut; the next process finishes."""
    async with member_of(server, passwords) as member:
        await member.configure({})
        if steps > 1:
            await until(partial(is_primary, server))
            await member.ensure_admin()
        if steps > 2:
            assert member._admin is not None
            await member._ensure_role(member._admin)
        server.kill()
        assert not await Keeper(member).round()
        assert member.reached == Step.NOTHING
    server.start()
    async with member_of(server, passwords) as member:
        await until_done(member)
    async with storage(uri(server)) as db:
        assert await check_privileges(db) == []


async def is_primary(server: Mongod) -> bool:
    db = connect_member(f"127.0.0.1:{server.port}", app="test")
    try:
        return await db.ping()
    finally:
        await db.close()


async def test_a_member_that_is_killed_and_comes_back_under_a_running_process(
    server: Mongod, passwords: Passwords
) -> None:
    async with member_of(server, passwords) as member:
        await until_done(member)
        server.kill()
        assert not await Keeper(member).round()
        assert member.reached == Step.NOTHING
        server.start()
        await until_done(member)


async def test_data_of_another_installation(server: Mongod, passwords: Passwords, lines: io.StringIO) -> None:
    async with member_of(server, passwords) as member:
        await until_done(member)
    lines.seek(0)
    lines.truncate()
    passwords.admin = "another-geheim"
    async with member_of(server, passwords) as member:
        keeper = Keeper(member)
        for _ in range(10):
            assert not await keeper.round()
        assert member.reached == Step.PRIMARY
        with pytest.raises(WrongPassword):
            await member.mend()
        (line,) = [json.loads(each) for each in lines.getvalue().splitlines()]
        assert (line["level"], line["event"]) == ("error", "MongoDB refuses the administrator's password")
        assert "put the Secret back that belongs to this volume" in line["cause"]
        passwords.admin = ADMIN_PASSWORD  # the Secret is put back
        await until_done(member)
    assert "geheim" not in lines.getvalue()


async def test_a_set_of_several_members_is_left_alone(server: Mongod, passwords: Passwords) -> None:
    async with member_of(server, passwords) as member:
        await until_done(member)
    answer = await as_admin(server, {"replSetGetConfig": 1})
    config = answer["config"]
    config["members"].append({**config["members"][0], "_id": 1, "host": "127.0.0.1:1", "priority": 0, "votes": 0})
    await as_admin(server, {"replSetReconfig": config, "force": True})
    async with member_of(server, passwords, f"localhost:{server.port}") as member:
        with pytest.raises(NotYet, match="several members"):
            await member.mend()


def environment(directory: Path, server: Mongod, admin_port: int) -> dict[str, str]:
    (directory / "admin-password").write_text(ADMIN_PASSWORD + "\n")
    (directory / "password").write_text(PASSWORD + "\n")
    return {
        "MB_MEMBER_HOST": f"127.0.0.1:{server.port}",
        "MB_MONGODB_PORT": str(server.port),
        "MB_ADMIN_PASSWORD_FILE": str(directory / "admin-password"),
        "MB_PASSWORD_FILE": str(directory / "password"),
        "MB_ADMIN_PORT": str(admin_port),
    }


async def test_the_process(server: Mongod, tmp_path: Path) -> None:
    """Ready when the store may use MongoDB, not when it is dead; a changed file is set; SIGTERM ends it at once."""
    settings = environment(tmp_path, server, free_port())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MB_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "storage_api.replica_set", env=inherited | settings, stderr=asyncio.subprocess.PIPE
    )
    url = f"http://127.0.0.1:{settings['MB_ADMIN_PORT']}/readyz"

    async def failing(session: aiohttp.ClientSession, wanted: list[str]) -> bool:
        assert process.returncode is None
        try:
            async with session.get(url) as answer:
                found: list[str] = (await answer.json(content_type=None))["failing"]
        except aiohttp.ClientError:
            return False
        return found == wanted

    async def changed() -> bool:
        async with storage(uri(server, "storage-geheim-2")) as db:
            return await db.ping()

    try:
        async with aiohttp.ClientSession() as session:
            await until(partial(failing, session, []))
            server.kill()
            await until(partial(failing, session, ["mongodb", "primary", "users"]))
            server.start()
            await until(partial(failing, session, []))
        (tmp_path / "password").write_text("storage-geheim-2")
        await until(changed)
        server.kill()  # SIGTERM is obeyed at once also while MongoDB is away
        began = asyncio.get_running_loop().time()
        process.send_signal(signal.SIGTERM)
        _, text = await asyncio.wait_for(process.communicate(), 20)
        assert asyncio.get_running_loop().time() - began < 5
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, text
    assert b"geheim" not in text
    assert b"Traceback" not in text


async def test_it_imports_neither_the_store_nor_the_rest_api() -> None:
    """It runs beside every mongod: its memory is taken from MongoDB's cache."""
    listing = "import sys, storage_api.replica_set.main; print(*sorted(sys.modules))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", listing, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    loaded = output.decode().split()
    ours = {name for name in loaded if name.startswith("storage_api.") and ".replica_set" not in name}
    assert ours == {"storage_api.db", "storage_api.db.driver"}
    assert not {"fastapi", "aio_pika", "mailboat_store_client", "argon2", "aiohttp"} & set(loaded)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"MB_MEMBER_HOST": "mb-mongodb-0"}, "MB_MEMBER_HOST"),
        ({"MB_MEMBER_HOST": "a:1,b:2"}, "MB_MEMBER_HOST"),
        ({"MB_USER": "admin"}, "MB_USER: must not be the administrator"),
        ({"MB_DATABASE": "admin"}, "MB_DATABASE: is MongoDB's own database"),
        ({"MB_PASSWORD_FILE": "/nowhere"}, "MB_PASSWORD_FILE: no such file"),
        ({"MB_MONGODB_PORT": "tcp://10.0.0.1:27017"}, "MB_MONGODB_PORT"),
    ],
)
def test_wrong_settings(tmp_path: Path, change: dict[str, str], said: str) -> None:
    good = environment(tmp_path, Mongod(tmp_path), 0)
    assert SecretFile(parse(Settings, good).password_file).text() == PASSWORD
    with pytest.raises(SettingsError) as error:
        parse(Settings, good | change)
    assert said in str(error.value)
