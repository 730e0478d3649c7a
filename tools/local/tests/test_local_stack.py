"""The stack's real servers: started, found again, killed, wiped, ended without a trace."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from mailboat_local.layout import StackError
from mailboat_local.main import main
from mailboat_local.process import free_offset
from mailboat_local.stack import Stack, clean
from pymongo import MongoClient

pytestmark = pytest.mark.stack
SERVERS = ["mongod-1", "epmd-1", "rabbitmq-1"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("with a space") / "stack"
    made = Stack(directory, port_offset=free_offset(), only=())
    try:
        assert made.up() == SERVERS
        yield made
    finally:
        made.down()
    assert made.processes.all_pids() == {}
    assert list((directory / "run").glob("*.pid")) == []
    assert not (directory / "stack.json").exists()


def test_starting_twice_starts_nothing(stack: Stack) -> None:
    before = {name: stack.pid(name) for name in SERVERS}
    assert stack.up() == []
    assert {name: stack.pid(name) for name in SERVERS} == before


def test_stack_json_lets_another_command_find_it(stack: Stack) -> None:
    found = Stack.running(stack.layout.root)
    assert found is not None
    assert found.settings == stack.settings
    record = json.loads(stack.layout.stack_file.read_text())
    assert record["processes"]["mongod-1"]["pid"] == stack.pid("mongod-1")
    assert record["processes"]["rabbitmq-1"]["ports"]["amqp"] == stack.settings.port_offset + 5672


def test_up_takes_some_services_alone_and_no_unknown_one(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(stack.layout.root)
    monkeypatch.setattr("sys.argv", ["mailboat-local", "up", "--directory", root, "--only", "storage_api"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert [name for name in stack.processes.names() if name not in SERVERS] == ["storage_api-1"]
    assert stack.up() == [], "what isn't wanted is ended"
    assert stack.processes.names() == sorted(SERVERS)
    monkeypatch.setattr("sys.argv", ["mailboat-local", "up", "--directory", root, "--only", "storage"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == StackError.status


def test_mongod_is_a_journaled_replica_set_with_short_transactions(stack: Stack) -> None:
    with MongoClient[dict[str, object]](stack.mongodb_uri) as client:
        limit = client.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1)
        assert limit["transactionLifetimeLimitSeconds"] == 5
        with client.start_session() as session, session.start_transaction():
            client["proof"]["things"].insert_one({"_id": 1}, session=session)


def test_a_killed_mongod_comes_back_with_its_data(stack: Stack) -> None:
    with MongoClient[dict[str, object]](stack.mongodb_uri) as client:
        client["proof"]["kept"].insert_one({"_id": 1})
        stack.kill("mongod-1")
        assert stack.pid("mongod-1") is None
        assert stack.processes.stale_pid("mongod-1") is not None
        assert stack.up() == ["mongod-1"]
        assert client["proof"]["kept"].count_documents({}) == 1


def test_a_child_that_dies_while_starting_is_told_with_its_last_words(stack: Stack) -> None:
    stack.kill("mongod-1")
    metadata = stack.layout.mongo / "storage.bson"
    content = metadata.read_bytes()
    metadata.write_bytes(b"not BSON\n")
    try:
        with pytest.raises(
            StackError, match=r"(?s)mongod-1 ended while it was starting. Its last words .*storage engine metadata file"
        ):
            stack.start("mongod-1")
    finally:
        metadata.write_bytes(content)
    stack.start("mongod-1")


def test_a_wiped_broker_comes_back_empty(stack: Stack) -> None:
    old = stack.pid("rabbitmq-1")
    stack.wipe_rabbitmq()
    assert stack.pid("rabbitmq-1") not in (None, old)


def test_servers_listen_on_loopback_only(stack: Stack) -> None:
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    for name in SERVERS:
        for port in stack.ports(name).values():
            addresses = {entry.partition(":")[0] for entry in listening if int(entry.partition(":")[2], 16) == port}
            loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
            assert addresses, (name, port)
            assert addresses <= loopback, (name, port)


def test_another_stack_on_the_same_ports_is_refused(stack: Stack, tmp_path: Path) -> None:
    other = Stack(tmp_path / "other", settings=stack.settings, only=())
    with pytest.raises(
        StackError,
        match=rf"mongod-1 cannot start: its port .* by mongod \(pid {stack.pid('mongod-1')}, of the stack in",
    ):
        other.up()
    assert other.down() == []
    assert stack.pid("mongod-1") is not None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": {"colour": 1}}'])
def test_a_damaged_record_is_told_and_down_removes_it(tmp_path: Path, content: str) -> None:
    layout = Stack(tmp_path).layout
    layout.create()
    layout.stack_file.write_text(content)
    with pytest.raises(StackError, match="damaged: make down"):
        Stack.running(tmp_path)
    assert Stack.to_end(tmp_path).down() == []
    assert not layout.stack_file.exists()
    assert Stack.running(tmp_path) is None


def test_clean_removes_the_directory(tmp_path: Path) -> None:
    other = Stack(tmp_path / "other", port_offset=free_offset(), only=())
    other.layout.create()
    clean(other.layout.root)
    assert not other.layout.root.exists()
    clean(other.layout.root)
