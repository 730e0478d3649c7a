"""The delivery worker as a process, against a real RabbitMQ and a storage_api of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aio_pika
import pytest
from delivery_worker import jobs
from delivery_worker.settings import Settings
from mailboat_common.bus import DeadLetter
from mailboat_common.config import SettingsError, parse
from mailboat_store_client.memory import MemoryStore

from tests.support.internal import Served, served
from tests.support.rabbitmq import RabbitNode
from tests.support.service import WAIT_SECONDS, ServiceProcess, service


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    node = RabbitNode(tmp_path_factory.mktemp("rabbit") / "node")
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
async def storage() -> AsyncIterator[Served]:
    async with served(MemoryStore()) as running:
        yield running


@pytest.fixture
async def worker(broker: RabbitNode, storage: Served, tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    token = tmp_path / "token"
    token.write_text(storage.tokens["delivery_worker"])
    settings = {
        "MB_STORAGE_URL": storage.url,
        "MB_INTERNAL_TOKEN_FILE": str(token),
        "MB_AMQP_URL": broker.url,
    }
    async with service("delivery_worker", settings) as running:
        yield running


async def test_a_job_without_a_queue_document_is_kept_aside_and_told(
    worker: ServiceProcess, broker: RabbitNode
) -> None:
    await worker.until_ready()
    connection = await aio_pika.connect(broker.url)
    async with connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"\x01job", delivery_mode=2), jobs.QUEUE.name)
        line = await worker.log_line("job can't be done, kept aside")
        assert line["level"] == "error"
        assert line["dead"] == "mailboat.delivery.dead"
        assert "no queue documents exist yet" in str(line["cause"])
        dead = await channel.get_queue(jobs.QUEUE.dead)
        arrived: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await message.ack()
            arrived.put_nowait(message.body)

        await dead.consume(take)
        assert await asyncio.wait_for(arrived.get(), WAIT_SECONDS) == b"\x01job"
        left = await channel.get_queue(jobs.QUEUE.name)
        assert left.declaration_result.message_count == 0
    _status, text = await worker.get("/metrics")
    assert 'mailboat_delivery_attempts_total{result="rejected"} 1.0' in text
    assert 'mailboat_dependency_up{dependency="rabbitmq"} 1.0' in text
    worker.terminate()
    assert await worker.ended() == 0


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


async def test_every_job_is_refused_not_acknowledged() -> None:
    for body in (b"", b"\x00" * 1000):
        with pytest.raises(DeadLetter, match="no queue documents exist yet"):
            await jobs.work(body)


def test_only_the_settings_it_uses_are_accepted(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    given = {"MB_INTERNAL_TOKEN_FILE": str(token), "MB_AMQP_URL": "amqp://rabbit.example/"}
    assert parse(Settings, given).jobs_at_once == 50
    for name in ("MB_TLS_DIR", "MB_DNS_SERVERS", "MB_MONGODB_URI"):
        with pytest.raises(SettingsError, match=f"{name}: unknown setting"):
            parse(Settings, given | {name: "x"})
