"""The bus against a real RabbitMQ, whose death and loss of all data included."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest
from mailboat_common.bus import Bus, DeadLetter, Exchange, HandBack, Topology, WorkQueue

from tests.support.rabbitmq import RabbitNode, free_ports

EVENTS = Exchange("test.events")
JOBS = WorkQueue("test.jobs", delivery_limit=2)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    rabbit = RabbitNode(Path(tmp_path_factory.mktemp("rabbit")) / "node")
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.close()


@asynccontextmanager
async def running(bus: Bus, *, wait: bool = True) -> AsyncIterator[Bus]:
    task = asyncio.create_task(bus.run())
    try:
        if wait:
            async with asyncio.timeout(30):
                await bus.wait_connected()
        yield bus
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await bus.close()


class Inbox:
    """Collects news and lets a test wait for it."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.reconnects = 0
        self._changed = asyncio.Event()

    def on_message(self, key: str, body: bytes) -> None:
        self.received.append((key, body))
        self._changed.set()

    def on_reconnect(self) -> None:
        self.reconnects += 1
        self._changed.set()

    async def on_job(self, body: bytes) -> None:
        self.on_message("", body)

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await self._changed.wait()
                self._changed.clear()


async def test_news_reaches_who_bound_its_key(node: RabbitNode) -> None:
    inbox = Inbox()
    bus = Bus(node.url, "test")
    news = bus.subscribe_shards(EVENTS, inbox.on_message, 100, inbox.on_reconnect)
    async with running(bus):
        assert inbox.reconnects == 1
        assert await news.bind("mailbox.001")
        assert bus.publish(EVENTS.name, "mailbox.001", b"one")
        assert bus.publish(EVENTS.name, "mailbox.002", b"not ours")
        assert bus.publish(EVENTS.name, "mailbox.001", b"two")
        await inbox.until(lambda: len(inbox.received) == 2)
        await news.unbind("mailbox.001")
        assert await news.bind("mailbox.003")
        bus.publish(EVENTS.name, "mailbox.001", b"not ours any more")
        bus.publish(EVENTS.name, "mailbox.003", b"three")
        await inbox.until(lambda: len(inbox.received) == 3)
    assert inbox.received == [("mailbox.001", b"one"), ("mailbox.001", b"two"), ("mailbox.003", b"three")]


async def test_news_published_before_the_end_still_leaves(node: RabbitNode) -> None:
    inbox = Inbox()
    reader = Bus(node.url, "reader")
    news = reader.subscribe_shards(EVENTS, inbox.on_message, 1000)
    async with running(reader):
        await news.bind("mailbox.009")
        async with running(Bus(node.url, "writer")) as writer:
            for number in range(500):
                assert writer.publish(EVENTS.name, "mailbox.009", b"%d" % number)
        await inbox.until(lambda: len(inbox.received) >= 500)
    bodies = list(dict.fromkeys(body for _key, body in inbox.received))  # news may come twice
    assert bodies == [b"%d" % number for number in range(500)]


async def test_an_exception_in_a_news_handler_does_not_stop_the_news(node: RabbitNode) -> None:
    inbox = Inbox()

    def explode(key: str, body: bytes) -> None:
        inbox.on_message(key, body)
        raise RuntimeError("handler bug")

    bus = Bus(node.url, "test")
    news = bus.subscribe_shards(EVENTS, explode, 100)
    async with running(bus):
        await news.bind("mailbox.007")
        bus.publish(EVENTS.name, "mailbox.007", b"one")
        bus.publish(EVENTS.name, "mailbox.007", b"two")
        await inbox.until(lambda: len(inbox.received) == 2)


async def test_a_subscription_added_later_works(node: RabbitNode) -> None:
    inbox = Inbox()
    async with running(Bus(node.url, "test")) as bus:
        news = bus.subscribe_shards(EVENTS, inbox.on_message, 100, inbox.on_reconnect)
        await news.bind("mailbox.011")
        await inbox.until(lambda: inbox.reconnects == 1)
        assert bus.publish(EVENTS.name, "mailbox.011", b"hello")
        await inbox.until(lambda: len(inbox.received) == 1)


async def test_publishing_to_an_exchange_that_is_missing_is_survived(node: RabbitNode) -> None:
    inbox = Inbox()
    bus = Bus(node.url, "test")
    news = bus.subscribe_shards(EVENTS, inbox.on_message, 100, inbox.on_reconnect)
    async with running(bus):
        await news.bind("mailbox.012")
        assert bus.publish("test.no-such-exchange", "x", b"lost")
        await inbox.until(lambda: inbox.reconnects == 2)
        assert bus.publish(EVENTS.name, "mailbox.012", b"still here")
        await inbox.until(lambda: len(inbox.received) == 1)


async def test_confirmed_means_in_a_queue(node: RabbitNode) -> None:
    bus = Bus(node.url, "test")
    bus.declare_topology(Topology((EVENTS,), (WorkQueue("test.confirmed"),)))
    assert not await bus.publish_confirmed("", "test.confirmed", b"not connected yet")
    async with running(bus):
        assert await bus.publish_confirmed("", "test.confirmed", b"job")
        assert not await bus.publish_confirmed("", "test.no-such-queue", b"nowhere to go")
        assert not await bus.publish_confirmed(EVENTS.name, "nobody.listens", b"nowhere to go")
        assert await bus.publish_confirmed(EVENTS.name, "nobody.listens", b"nobody needs it", mandatory=False)


async def test_a_failing_job_is_repeated_up_to_the_limit_then_kept_aside(node: RabbitNode) -> None:
    inbox = Inbox()
    dead = Inbox()

    async def fail(body: bytes) -> None:
        inbox.on_message("", body)
        raise RuntimeError("job bug")

    bus = Bus(node.url, "test")
    bus.consume_work(JOBS, fail, prefetch=1)
    async with running(bus):
        assert await bus.publish_confirmed("", JOBS.name, b"poison")
        connection = await aio_pika.connect(node.url)
        channel = await connection.channel()
        queue = await channel.get_queue(JOBS.dead, ensure=False)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            dead.on_message("", message.body)
            await message.ack()

        await queue.consume(take)
        await dead.until(lambda: len(dead.received) == 1)
        await connection.close()
    assert [body for _key, body in inbox.received] == [b"poison"] * (1 + JOBS.delivery_limit)


async def test_a_job_that_no_repeat_can_help_is_kept_aside_at_once(node: RabbitNode) -> None:
    tried: list[bytes] = []

    async def refuse(body: bytes) -> None:
        tried.append(body)
        raise DeadLetter("unknown kind of job")

    queue, kept = WorkQueue("test.hopeless"), Inbox()
    bus = Bus(node.url, "test")
    bus.consume_work(queue, refuse, prefetch=1)
    async with running(bus):
        assert await bus.publish_confirmed("", queue.name, b"hopeless")
        connection = await aio_pika.connect(node.url)
        channel = await connection.channel()
        dead = await channel.get_queue(queue.dead, ensure=False)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await kept.on_job(message.body)

        await dead.consume(take, no_ack=True)
        await kept.until(lambda: len(kept.received) == 1)
        await connection.close()
    assert tried == [b"hopeless"]
    assert kept.received == [("", b"hopeless")]


async def test_a_job_that_is_handed_back_comes_again_without_a_wait(node: RabbitNode) -> None:
    again = Inbox()

    async def give_back_once(body: bytes) -> None:
        await again.on_job(body)
        if len(again.received) == 1:
            raise HandBack

    queue = WorkQueue("test.handed-back")
    bus = Bus(node.url, "test")
    bus.consume_work(queue, give_back_once, prefetch=1)
    async with running(bus):
        assert await bus.publish_confirmed("", queue.name, b"job")
        await again.until(lambda: len(again.received) == 2)


async def test_prefetch_bounds_what_runs_and_stop_waits_for_it(node: RabbitNode) -> None:
    started = Inbox()
    go_on = asyncio.Event()

    async def slow(body: bytes) -> None:
        started.on_message("", body)
        await go_on.wait()

    queue = WorkQueue("test.slow")
    bus = Bus(node.url, "test")
    consumer = bus.consume_work(queue, slow, prefetch=3)
    async with running(bus):
        for number in range(5):
            assert await bus.publish_confirmed("", queue.name, b"%d" % number)
        await started.until(lambda: len(started.received) == 3)
        assert consumer.running == 3
        stopping = asyncio.create_task(consumer.stop(asyncio.get_running_loop().time() + 30))
        await asyncio.sleep(0)
        assert not stopping.done()
        go_on.set()
        await stopping
        assert consumer.running == 0
    assert len(started.received) == 3


async def test_nothing_raises_while_rabbitmq_is_away() -> None:
    (port,) = free_ports(1)
    inbox = Inbox()
    bus = Bus(f"amqp://guest:guest@127.0.0.1:{port}/", "test")
    news = bus.subscribe_shards(EVENTS, inbox.on_message, 100, inbox.on_reconnect)
    async with running(bus, wait=False):
        assert not bus.connected
        assert not bus.publish(EVENTS.name, "mailbox.001", b"news")
        assert not await bus.publish_confirmed("", JOBS.name, b"job")
        assert not await news.bind("mailbox.001")
        assert news.keys == {"mailbox.001"}
        await news.unbind("mailbox.001")
    assert inbox.reconnects == 0


async def test_a_broker_that_dies_and_comes_back_empty_is_set_up_again(node: RabbitNode) -> None:
    inbox, jobs = Inbox(), Inbox()
    go_on = asyncio.Event()
    queue = WorkQueue("test.survivor")

    async def work(body: bytes) -> None:
        jobs.on_message("started", body)
        if body == b"long":
            await go_on.wait()
        jobs.on_message("done", body)

    bus = Bus(node.url, "test")
    news = bus.subscribe_shards(EVENTS, inbox.on_message, 100, inbox.on_reconnect)
    consumer = bus.consume_work(queue, work, prefetch=5)
    async with running(bus):
        await news.bind("mailbox.021")
        assert await bus.publish_confirmed("", queue.name, b"long")
        await jobs.until(lambda: ("started", b"long") in jobs.received)
        node.kill()
        node.wipe()
        await asyncio.to_thread(node.start)
        assert await news.bind("mailbox.022") in (True, False)
        await inbox.until(lambda: inbox.reconnects == 2)
        assert bus.connected
        assert bus.publish(EVENTS.name, "mailbox.021", b"bound before")
        assert bus.publish(EVENTS.name, "mailbox.022", b"bound while away")
        await inbox.until(lambda: len(inbox.received) == 2)
        assert await bus.publish_confirmed("", queue.name, b"short")
        await jobs.until(lambda: ("done", b"short") in jobs.received)
        assert consumer.running >= 1
        assert ("done", b"long") not in jobs.received
        go_on.set()
        await jobs.until(lambda: ("done", b"long") in jobs.received)


async def test_a_deleted_queue_is_noticed(node: RabbitNode) -> None:
    jobs = Inbox()
    queue = WorkQueue("test.deleted")
    bus = Bus(node.url, "test")
    bus.consume_work(queue, jobs.on_job, prefetch=1)
    news = bus.subscribe_shards(EVENTS, jobs.on_message, 10, jobs.on_reconnect)
    async with running(bus):
        connection = await aio_pika.connect(node.url)
        channel = await connection.channel()
        await channel.queue_delete(queue.name)
        await connection.close()
        await jobs.until(lambda: jobs.reconnects == 2)
        assert news.keys == frozenset()
        assert await bus.publish_confirmed("", queue.name, b"again")
        await jobs.until(lambda: len(jobs.received) == 1)
