"""The internal application: who may call, what is refused before the store is asked, what each error becomes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from mailboat.common.v1 import common_pb2 as common
from mailboat.storage.v1 import (
    delivery_pb2,
    directory_pb2,
    mailbox_read_pb2,
    mailbox_write_pb2,
    queue_pb2,
    trace_pb2,
)
from mailboat_common.config import SecretFile
from mailboat_common.errors import Internal, Refused, RefusedCode, Unavailable
from mailboat_common.ids import trace_id, uuid7
from mailboat_store_client.framing import frame
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import AccountId, AppendMessage, Envelope, EnvelopeRecipient
from storage_api.db.driver import AutoReconnect, OperationFailure
from storage_api.internal.callers import ALLOWED, Callers, parse_callers
from storage_api.internal.methods import GROWING, METHODS, READ

from tests.support.internal import Served, SplitStore, over_http, served

TREE = "MailboxReadService/Tree"


class World:
    """A served in-memory store and a bare HTTP client."""

    def __init__(self, store: MemoryStore, running: Served, http: aiohttp.ClientSession) -> None:
        self.store, self.running, self.http = store, running, http
        self.account = store.add_account("a@example.test", "correct horse")

    async def post(
        self, method: str, body: bytes = b"", caller: str = "imap_gateway", **headers: str
    ) -> tuple[int, common.ErrorDetail, bytes]:
        sent = {"authorization": f"Bearer {self.running.tokens.get(caller, caller)}", **headers}
        url = f"{self.running.url}/internal/v1/{method}"
        async with self.http.post(url, data=body, headers=sent) as answer:
            raw = await answer.read()
            detail = common.ErrorDetail() if answer.status == 200 else common.ErrorDetail.FromString(raw)
            return answer.status, detail, raw

    async def tree(self, **headers: str) -> tuple[int, common.ErrorDetail, bytes]:
        return await self.post(
            TREE, mailbox_read_pb2.TreeRequest(account_id=self.account).SerializeToString(), **headers
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = MemoryStore()
    async with served(store, max_request=1 << 20) as running, aiohttp.ClientSession() as http:
        yield World(store, running, http)


def test_every_method_of_the_contracts_is_served() -> None:
    services: list[ServiceDescriptor] = []
    for module in (directory_pb2, mailbox_read_pb2, mailbox_write_pb2, delivery_pb2, queue_pb2, trace_pb2):
        services += module.DESCRIPTOR.services_by_name.values()
    declared = {f"{service.name}/{method.name}" for service in services for method in service.methods}
    assert declared == set(METHODS) | {READ}
    assert set.union(*map(set, ALLOWED.values())) == declared
    assert declared >= GROWING


def test_callers_see_no_more_than_they_need() -> None:
    assert all(method.startswith("QueueService/") for method in ALLOWED["delivery_worker"])
    others = (ALLOWED[caller] for caller in ALLOWED if caller != "delivery_worker")
    assert not any(method.startswith("Queue") for methods in others for method in methods)
    assert not any("Maildrop" in method for method in ALLOWED["imap_gateway"])
    assert not any(method.startswith("Mailbox") for method in ALLOWED["smtp_ingress"])
    assert [method for method in ALLOWED["imap_gateway"] if method.startswith("Trace")] == ["TraceService/Announced"]
    others = (ALLOWED[caller] for caller in ALLOWED if caller != "imap_gateway")
    assert not any(method.startswith("Trace") for methods in others for method in methods)
    assert not any(method.startswith("Delivery") for method in ALLOWED["pop3_gateway"] | ALLOWED["imap_gateway"])


@pytest.mark.parametrize("header", ["x-deadline-ms", "content-length"])
async def test_a_number_of_any_length_is_no_bug(world: World, header: str) -> None:
    """Python refuses to read more than 4,300 digits, and headers are read before the token is looked at."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(world.running.url.rpartition(":")[2]))
    lines = ["POST /internal/v1/Directory/Resolve HTTP/1.1", "host: x", "connection: close", f"{header}: {'9' * 5000}"]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ")), answer


async def test_tokens_rotate_without_a_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SecretFile, "CHECK_SECONDS", 0.0)
    old, new = world.running.tokens["imap_gateway"], "the-new-token-0123456789"
    world.running.token_file.write_text(json.dumps({"imap_gateway": [new, old]}))
    assert (await world.tree())[0] == 200
    assert (await world.tree(authorization=f"Bearer {new}"))[0] == 200
    world.running.token_file.write_text(json.dumps({"imap_gateway": [new]}))
    assert (await world.tree())[0] == 401
    assert (await world.tree(authorization=f"Bearer {new}"))[0] == 200
    world.running.token_file.write_text("{broken")
    assert (await world.tree(authorization=f"Bearer {new}"))[0] == 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"nobody": ["0123456789abcdef"]}',
        '{"imap_gateway": []}',
        '{"imap_gateway": ["short"]}',
        '{"imap_gateway": ["0123456789abcdef", "0123456789abcde1", "0123456789abcde2"]}',
        '{"imap_gateway": ["0123456789abcdef"], "pop3_gateway": ["0123456789abcdef"]}',
    ],
)
def test_an_unusable_token_file_is_told_without_its_tokens(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_callers(text)
    assert "0123456789" not in str(error.value)


def test_a_single_token_may_stand_alone(tmp_path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text('{"imap_gateway": "0123456789abcdef"}')
    callers = Callers(SecretFile(file))
    callers.check()
    assert callers.identify(b"0123456789abcdef") == "imap_gateway"


async def test_unknown_methods_and_forms(world: World) -> None:
    assert (await world.post("MailboxReadService/Nothing"))[0] == 403
    async with world.http.get(f"{world.running.url}/somewhere") as answer:
        assert answer.status == 401
    token = {"authorization": f"Bearer {world.running.tokens['imap_gateway']}"}
    async with world.http.get(f"{world.running.url}/internal/v1/{TREE}", headers=token) as answer:
        assert answer.status == 400

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    async with world.http.post(f"{world.running.url}/internal/v1/{TREE}", headers=token, data=chunks()) as answer:
        assert answer.status == 400  # chunked: no length to budget for


async def test_a_request_is_bounded(world: World) -> None:
    status, detail, _ = await world.post(TREE, bytes((1 << 20) + 1))
    assert (status, detail.code) == (413, common.ERROR_CODE_TOO_BIG)


async def test_ids_and_keys_are_checked(world: World) -> None:
    bad_id = mailbox_read_pb2.TreeRequest(account_id=b"short").SerializeToString()
    assert (await world.post(TREE, bad_id))[0] == 400
    no_key = mailbox_write_pb2.DeleteRequest(account_id=world.account, name="Trash").SerializeToString()
    assert (await world.post("MailboxWriteService/Delete", no_key))[0] == 400
    many = mailbox_read_pb2.BodyInfosRequest(account_id=world.account, body_ids=bytes(16 * 1001)).SerializeToString()
    assert (await world.post("MailboxReadService/BodyInfos", many))[0] == 400
    lying = b"".join(frame(delivery_pb2.DeliverRequest(trace_id="t", size=5).SerializeToString(), (b"12",)))
    assert (await world.post("DeliveryService/Deliver", lying, "smtp_ingress"))[0] == 400


ERRORS = [
    (Refused(RefusedCode.NO_MAILBOX, "public", "private"), 409, common.ERROR_CODE_NO_MAILBOX, "public"),
    (Unavailable("private"), 503, common.ERROR_CODE_UNAVAILABLE, Unavailable().public),
    (Internal("private"), 500, common.ERROR_CODE_INTERNAL, Internal().public),
    (AutoReconnect("mongodb://user:pw@host"), 503, common.ERROR_CODE_UNAVAILABLE, Unavailable().public),
    (OperationFailure("bad query", 2), 500, common.ERROR_CODE_INTERNAL, Internal().public),
    (KeyError("secret"), 500, common.ERROR_CODE_INTERNAL, ""),
    (ValueError("of ours, not of the request"), 500, common.ERROR_CODE_INTERNAL, ""),
]


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: type(case[0]).__name__)
async def test_errors_are_typed(
    world: World, monkeypatch: pytest.MonkeyPatch, case: tuple[Exception, int, int, str]
) -> None:
    error, status, code, public = case

    async def fail(_account: bytes) -> None:
        raise error

    monkeypatch.setattr(world.store.read, "tree", fail)
    got, detail, raw = await world.tree()
    assert (got, detail.code, detail.public_text) == (status, code, public)
    assert b"secret" not in raw


async def test_a_call_ends_at_its_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_account: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.store.read, "tree", hang)
    status, detail, _ = await world.tree(**{"x-deadline-ms": "50"})
    assert (status, detail.code) == (504, common.ERROR_CODE_DEADLINE)


async def test_bytes_in_flight_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    started, go = asyncio.Event(), asyncio.Event()
    original = store.delivery.deliver

    async def slow(envelope, content):
        started.set()
        await go.wait()
        return await original(envelope, content)

    monkeypatch.setattr(store.delivery, "deliver", slow)
    async with served(store, bytes_in_flight=1500) as running, aiohttp.ClientSession() as http:
        world = World(store, running, http)
        request = delivery_pb2.DeliverRequest(trace_id="t", size=1000, content_sha256=b"x" * 32)
        request.recipients.add(address="a@example.test", account_id=world.account)
        body = b"".join(frame(request.SerializeToString(), (bytes(1000),)))
        first = asyncio.create_task(world.post("DeliveryService/Deliver", body, "smtp_ingress"))
        await started.wait()
        headers = {"x-deadline-ms": "100"}
        status, detail, _ = await world.post("DeliveryService/Deliver", body, "smtp_ingress", **headers)
        assert (status, detail.code) == (503, common.ERROR_CODE_UNAVAILABLE)
        go.set()
        assert (await first)[0] == 200
        assert (await world.post("DeliveryService/Deliver", body, "smtp_ingress"))[0] == 200


async def test_what_grows_is_refused_on_a_full_disk() -> None:
    store = MemoryStore()
    async with over_http(store, full=lambda: True) as client:
        account = store.add_account("a@example.test", "pw")
        envelope = Envelope(trace_id(), "", (EnvelopeRecipient("a@example.test", account),), hashlib.sha256().digest())
        for growing in (
            client.delivery.deliver(envelope, b"x"),
            client.write.append(account, "INBOX", [AppendMessage(b"x")], key=b"k" * 16),
        ):
            with pytest.raises(Refused) as refused:
                await growing
            assert refused.value.code is RefusedCode.STORAGE_FULL
        await client.write.create(account, "Still", key=b"l" * 16)


async def test_a_stream_that_breaks_at_the_server_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    account = store.add_account("a@example.test", "pw")
    content = bytes(range(256)) * 1000
    await store.write.append(account, "INBOX", [AppendMessage(content)], key=b"k" * 16)
    head = await store.read.head(account, "INBOX")
    body_id = (await store.read.changes(account, head.mailbox_id, 0)).changed.body_id(0)
    original, asked = store.read.read, []

    async def fragile(account_id, wanted, offset=0, length=None):
        asked.append(offset)
        sent = 0
        async for chunk in original(account_id, wanted, offset, length):
            if sent and len(asked) < 3:
                raise Unavailable("the primary is gone")
            yield chunk
            sent += len(chunk)

    monkeypatch.setattr(store.read, "read", fragile)
    async with over_http(store) as client:
        got = b"".join([chunk async for chunk in client.read.read(account, body_id, 10, 200_000)])
    assert got == content[10:200_010]
    assert len(asked) == 3
    assert asked[0] == 10 < asked[1] < asked[2]


async def test_readiness_is_for_everyone(world: World) -> None:
    for ready, status in ((True, 200), (False, 503)):
        world.running.ready = ready
        async with world.http.get(f"{world.running.url}/internal/v1/ready") as answer:
            assert answer.status == status


async def test_a_replica_that_ends_under_load_costs_no_call() -> None:
    store = MemoryStore()
    accounts = [store.add_account(f"u{number}@example.test", "pw") for number in range(20)]
    stop = asyncio.Event()
    done: asyncio.Queue[AccountId] = asyncio.Queue()

    async def work(client: SplitStore, account: AccountId) -> None:
        while not stop.is_set():
            await client.write.append(account, "INBOX", [AppendMessage(b"x")], key=uuid7())
            await client.read.tree(account)
            done.put_nowait(account)

    async with AsyncExitStack() as first, served(store) as second:
        going = await first.enter_async_context(served(store))
        client = SplitStore([going.url, second.url], second.tokens)
        await client.start()
        try:
            async with asyncio.TaskGroup() as group:
                for account in accounts:
                    group.create_task(work(client, account))
                calls = [await done.get() for _ in range(100)]
                await first.aclose()
                calls += [await done.get() for _ in range(100)]
                stop.set()
        finally:
            await client.close()
    heads = [await store.read.head(account, "INBOX") for account in accounts]
    assert sum(head.messages for head in heads) == len(calls) + done.qsize()
