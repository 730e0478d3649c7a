"""The delivery worker as a process, against a real RabbitMQ and a storage_api of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aio_pika
import aiohttp
import pytest
from delivery_worker import jobs
from delivery_worker.settings import Settings
from mailboat_common.bus import DeadLetter
from mailboat_common.config import SettingsError, parse
from mailboat_store_client.memory import MemoryStore

from tests.support.internal import Served, served
from tests.support.rabbitmq import RabbitNode, free_ports

WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    node = RabbitNode(tmp_path_factory.mktemp("rabbit") / "node")
    try:
        node.start()
        yield node
    finally:
        node.close()


@dataclass(slots=True)
class Worker:
    process: asyncio.subprocess.Process
    port: int
    lines: list[dict[str, object]] = field(default_factory=list)

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}{path}") as answer:
            return answer.status, await answer.text()

    async def until_ready(self, accept: Callable[[list[str]], bool] = lambda failing: not failing) -> None:
        """Asks /readyz until what fails is as wanted."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                if accept(json.loads((await self.get("/readyz"))[1])["failing"]):
                    return
                await asyncio.sleep(0.05)

    async def log_line(self, event: str) -> dict[str, object]:
        """The next log line about `event`."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while line := await self.process.stderr.readline():
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"ended without {event}: {self.lines}")

    async def end(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.fixture
async def storage() -> AsyncIterator[Served]:
    async with served(MemoryStore()) as running:
        yield running


@pytest.fixture
async def worker(broker: RabbitNode, storage: Served, tmp_path: Path) -> AsyncIterator[Worker]:
    token = tmp_path / "token"
    token.write_text(storage.tokens["delivery_worker"])
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MB_")} | {
        "MB_ADMIN_PORT": str(port),
        "MB_STORAGE_URL": storage.url,
        "MB_INTERNAL_TOKEN_FILE": str(token),
        "MB_AMQP_URL": broker.url,
        "MB_DRAIN_SECONDS": "0.4",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "delivery_worker.main", env=environment, stderr=asyncio.subprocess.PIPE
    )
    running = Worker(process, port)
    await running.log_line("started")
    yield running
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_a_job_without_a_queue_document_is_kept_aside_and_told(worker: Worker, broker: RabbitNode) -> None:
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
    assert await worker.end() == 0


async def test_it_is_ready_only_with_rabbitmq_and_storage_and_outlives_their_absence(
    worker: Worker, broker: RabbitNode, storage: Served
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
    assert await worker.end() == 0


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
