"""The delivery worker as a process, against a real RabbitMQ and a storage_api of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aio_pika
import pytest
from delivery_worker.settings import Settings
from mailboat_common.config import SettingsError, parse
from mailboat_store_client.jobs import DELIVERY, encode_job
from mailboat_store_client.memory import MemoryStore
from mailboat_store_client.types import NO_ACCOUNT, Envelope, EnvelopeRecipient

from tests.support.dns_server import dns_server
from tests.support.internal import Served, served
from tests.support.outbound import MESSAGE
from tests.support.rabbitmq import RabbitNode
from tests.support.service import WAIT_SECONDS, ServiceProcess, service
from tests.support.smtp_sink import PLAIN, Says, Sink, Stalls, smtp_sink


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    node = RabbitNode(tmp_path_factory.mktemp("rabbit") / "node")
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def storage(store: MemoryStore) -> AsyncIterator[Served]:
    async with served(store) as running:
        yield running


ZONE = """
b.example. 60 MX 10 mx.b.example.
mx.b.example. 60 A 127.0.0.1
"""


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with smtp_sink() as running:
        yield running


async def purge(broker: RabbitNode) -> None:
    """Jobs that an earlier test's worker gave back mustn't come to this one's."""
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        with suppress(aio_pika.exceptions.ChannelNotFoundEntity):  # no worker has been there yet
            await (await channel.get_queue(DELIVERY.name)).purge()


@pytest.fixture
async def settings(broker: RabbitNode, storage: Served, sink: Sink, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    token = tmp_path / "token"
    token.write_text(storage.tokens["delivery_worker"])
    await purge(broker)
    async with dns_server(ZONE) as dns:
        yield {
            "MB_STORAGE_URL": storage.url,
            "MB_INTERNAL_TOKEN_FILE": str(token),
            "MB_AMQP_URL": broker.url,
            "MB_HOSTNAME": "mail.example.test",
            "MB_DNS_SERVERS": dns.address,
            "MB_MX_NETWORKS": "127.0.0.0/8",
            "MB_MX_PORT": str(sink.port),
            "MB_DRAIN_SECONDS": "8",
        }


@pytest.fixture
async def worker(settings: dict[str, str]) -> AsyncIterator[ServiceProcess]:
    async with service("delivery_worker", settings) as running:
        yield running


@asynccontextmanager
async def publishing(broker: RabbitNode) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """A function that puts a job into the queue."""
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()

        async def publish(body: bytes) -> None:
            await channel.default_exchange.publish(aio_pika.Message(body, delivery_mode=2), DELIVERY.name)

        yield publish


def submitted(store: MemoryStore, *addresses: str) -> list[bytes]:
    """Queue a message; its jobs."""
    envelope = Envelope("t" * 26, "ann@a.example", (), b"", "submission")
    before = set(store.queue.documents)
    store.queue.submit(envelope, [EnvelopeRecipient(address, NO_ACCOUNT) for address in addresses], MESSAGE)
    return [encode_job(job) for job in store.queue.jobs() if job.queue_id not in before]


async def until_settled(store: MemoryStore) -> None:
    """Waits until no document is claimed or waits."""
    async with asyncio.timeout(WAIT_SECONDS):
        while any(document.waiting or document.claimed for document in store.queue.documents.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_job_is_delivered_reported_and_acknowledged(
    worker: ServiceProcess, broker: RabbitNode, store: MemoryStore, sink: Sink
) -> None:
    await worker.until_ready()
    async with publishing(broker) as publish:
        for job in submitted(store, "bob@b.example", "eve@b.example"):
            await publish(job)
        line = await worker.log_line("delivery attempt")
    assert (line["trace_id"], line["result"], line["delivered"]) == ("t" * 26, "delivered", 2)
    assert line["host"] == f"mx.b.example [127.0.0.1]:{sink.port}"
    await until_settled(store)
    (taken,) = sink.messages
    assert taken.content == MESSAGE
    assert sink.commands[0] == "EHLO mail.example.test"
    _status, text = await worker.get("/metrics")
    assert 'mailboat_delivery_attempts_total{result="delivered"} 1.0' in text
    assert 'mailboat_delivery_recipients_total{outcome="delivered"} 2.0' in text
    worker.terminate()
    await sink.until(command="QUIT")
    assert await worker.ended() == 0


async def test_told_to_end_it_finishes_what_the_server_has_and_breaks_off_the_rest(
    worker: ServiceProcess, broker: RabbitNode, store: MemoryStore, sink: Sink
) -> None:
    sink.extensions = PLAIN
    sink.on["RCPT <hangs@b.example>"] = Stalls()
    sink.on["MAIL"] = [Says("250 2.1.0 Ok")]
    await worker.until_ready()
    async with publishing(broker) as publish:
        for job in (*submitted(store, "hangs@b.example"), *submitted(store, "bob@b.example")):
            await publish(job)
        await sink.until(messages=1, command="RCPT", times=2)
        worker.terminate()
        assert await worker.ended() == 0
        hangs, bob = store.queue.documents.values()
        assert not bob.waiting
        assert hangs.waiting
        assert not hangs.claimed
        assert hangs.attempt == 2


@pytest.mark.parametrize(
    ("point", "arrivals", "waiting"),
    [
        ("delivery.claimed", 1, True),
        ("delivery.answered", 2, True),  # the server had it, and nobody but the dead process knew
        ("delivery.reported", 1, False),
    ],
)
async def test_killed_at_each_step_the_next_one_goes_on(
    settings: dict[str, str],
    broker: RabbitNode,
    store: MemoryStore,
    sink: Sink,
    *,
    point: str,
    arrivals: int,
    waiting: bool,
) -> None:
    async with publishing(broker) as publish:
        async with service("delivery_worker", settings | {"MB_CRASH_POINT": point}) as first:
            await first.until_ready()
            (job,) = submitted(store, "bob@b.example")
            await publish(job)
            assert await first.ended() != 0
        (document,) = store.queue.documents.values()
        assert bool(document.waiting) is waiting
        async with service("delivery_worker", settings) as second:
            await second.until_ready()  # the broker gives it the job again, which is void: the claim holds
            if waiting:
                document.lease_until = 0
                (again,) = store.queue.jobs()
                assert again.attempt == 2
                await publish(encode_job(again))
            await until_settled(store)
            await sink.until(messages=arrivals)
    assert len(sink.messages) == arrivals


async def test_what_is_no_job_is_kept_aside_and_told(worker: ServiceProcess, broker: RabbitNode) -> None:
    await worker.until_ready()
    async with publishing(broker) as publish:
        await publish(b"\x01job")
        line = await worker.log_line("job can't be done, kept aside")
    assert line["level"] == "error"
    assert line["dead"] == "mailboat.delivery.dead"
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        dead = await channel.get_queue(DELIVERY.dead)
        arrived: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await message.ack()
            arrived.put_nowait(message.body)

        await dead.consume(take)
        assert await asyncio.wait_for(arrived.get(), WAIT_SECONDS) == b"\x01job"
    _status, text = await worker.get("/metrics")
    assert 'mailboat_delivery_attempts_total{result="rejected"} 1.0' in text
    assert 'mailboat_dependency_up{dependency="rabbitmq"} 1.0' in text


async def test_it_is_ready_only_with_rabbitmq_and_storage_and_outlives_their_absence(
    worker: ServiceProcess, broker: RabbitNode, storage: Served
) -> None:
    await worker.until_ready()
    storage.ready = False
    await worker.until_ready(lambda failing: failing == ["storage"])
    storage.ready = True
    await worker.until_ready()
    broker.kill()
    await worker.until_ready(lambda failing: failing == ["rabbitmq"])
    assert (await worker.get("/livez"))[0] == 200
    await asyncio.to_thread(broker.start)
    await worker.until_ready()
    worker.terminate()
    assert await worker.ended() == 0


def test_only_the_settings_it_uses_are_accepted(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    given = {"MB_INTERNAL_TOKEN_FILE": str(token), "MB_AMQP_URL": "amqp://rabbit.example/"}
    assert parse(Settings, given).jobs_at_once == 300
    for name in ("MB_TLS_DIR", "MB_MONGODB_URI"):
        with pytest.raises(SettingsError, match=f"{name}: unknown setting"):
            parse(Settings, given | {name: "x"})
