"""RabbitMQ: news that may be lost and jobs that are repeated, over one connection that comes back by itself.

    bus = Bus(settings.amqp_url, "imap_gateway")
    bus.declare_topology(Topology(exchanges=(EVENTS,)))
    news = bus.subscribe_shards(EVENTS, on_message, max_length=10_000, on_reconnect=resync)
    life.spawn(bus.run(), "bus"); life.on_close(bus.close)
    await news.bind("mailbox.017")

Rules: nothing that matters exists only here; news may be lost, or come twice. RabbitMQ may vanish, or come back empty,
at any time: whatever was declared, bound or consumed is set up again on each connection, and a channel that breaks is
treated like the connection, so there is one way back. `publish` never blocks and never raises. A job that is cut off
from its broker runs on to its end; its repeat must be harmless. Job queues are quorum queues with a delivery limit and
a dead-letter queue; the arguments hold for RabbitMQ 3.10 and 4.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq import Channel as FrameChannel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable
from yarl import URL

from mailboat_common import metrics
from mailboat_common.backoff import backoff
from mailboat_common.log import get_logger

log = get_logger(__name__)

CONNECT_SECONDS = 10.0
HEARTBEAT_SECONDS = 10
FLUSH_SECONDS = 1.0
NEWS_LIMIT = 20_000  # messages waiting for the socket; more means that RabbitMQ is stuck, and news gets old anyway
DEAD_EXCHANGE = "mailboat.dead"
DEAD_LIMIT = 10_000

_TRANSIENT = Basic.Properties(delivery_mode=1, message_id="news")  # an id given, or the library makes one each time
_PERSISTENT = Basic.Properties(delivery_mode=2, message_id="news")
_AWAY = (*CONNECTION_EXCEPTIONS, TimeoutError)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange; `kind` is topic, direct, fanout or headers."""

    name: str
    kind: str = "topic"


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """A durable quorum queue of jobs, reached through the default exchange by its name.

    A job that failed `delivery_limit` times goes to the queue `<name>.dead`, which keeps the newest 10,000.
    """

    name: str
    delivery_limit: int = 10

    @property
    def dead(self) -> str:
        """The name of the dead-letter queue."""
        return self.name + ".dead"


@dataclass(frozen=True, slots=True)
class Topology:
    """What must exist before anything is published or consumed."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[WorkQueue, ...] = ()


class DeadLetter(Exception):
    """A job handler raises it when no repeat can help: to the dead-letter queue at once; its text is logged."""


class HandBack(Exception):
    """A job handler raises it when another may have the job, as it was: back to the queue at once."""


OnMessage = Callable[[str, bytes], None]
OnReconnect = Callable[[], None]
JobHandler = Callable[[bytes], Awaitable[None]]


class Bus:
    """A process's connection to RabbitMQ. Safe to use before it is connected."""

    def __init__(self, amqp_url: str, name: str) -> None:
        url = URL(amqp_url)
        self._url = url if "heartbeat" in url.query else url.update_query(heartbeat=HEARTBEAT_SECONDS)
        self._name = name
        self._exchanges: dict[str, Exchange] = {}
        self._queues: dict[str, WorkQueue] = {}
        self._subscriptions: list[ShardSubscription] = []
        self._consumers: list[WorkConsumer] = []
        self._news: deque[tuple[str, str, bytes, Basic.Properties]] = deque()
        self._news_waiting = asyncio.Event()
        self._link: _Link | None = None
        self._parts = 0  # grows with each subscription and consumer
        self._connected = asyncio.Event()
        self._up = metrics.dependency_up.labels("rabbitmq")

    @property
    def connected(self) -> bool:
        """Whether publishing and consuming works now, as far as we know (a dead peer is noticed within 20 s)."""
        return self._link is not None

    async def wait_connected(self) -> None:
        """Waits for the first or next connection."""
        await self._connected.wait()

    def declare_topology(self, topology: Topology) -> None:
        """Adds exchanges and queues, declared on each connection. Call it before `run`."""
        for exchange in topology.exchanges:
            self._exchanges[exchange.name] = exchange
        for queue in topology.queues:
            self._queues[queue.name] = queue

    # -- publishing

    def publish(self, exchange: str, key: str, body: bytes, persistent: bool = False) -> bool:
        """Sends news without confirm; False (and nothing sent) when RabbitMQ is away or stuck."""
        if self._link is None or len(self._news) >= NEWS_LIMIT:
            return False
        self._news.append((exchange, key, body, _PERSISTENT if persistent else _TRANSIENT))
        self._news_waiting.set()
        return True

    async def publish_confirmed(
        self,
        exchange: str,
        key: str,
        body: bytes,
        *,
        timeout: float = 10.0,  # noqa: ASYNC109
        mandatory: bool = True,
        message_id: str | None = None,
        content_type: str | None = None,
    ) -> bool:
        """Sends a persistent message; True once RabbitMQ has it safely in at least one queue.

        Not `mandatory`: in every queue bound to its key, though there be none. False is "not known to be there": it
        may still arrive, so a repeat must be harmless. `exchange` "" is the default exchange, which routes to the
        queue named by `key`.
        """
        link = self._link
        if link is None:
            return False
        try:
            result = await link.exchange(exchange).publish(
                aio_pika.Message(
                    body,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=message_id,
                    content_type=content_type,
                ),
                key,
                mandatory=mandatory,
                timeout=timeout,
            )
        except _AWAY as error:
            log.debug("publish not confirmed", exchange=exchange, cause=repr(error))
            return False
        return not isinstance(result, DeliveredMessage)  # returned to us: no queue for it

    async def depth(self, queue: WorkQueue) -> int | None:
        """How many jobs wait for a consumer; None when RabbitMQ is away."""
        link = self._link
        if link is None:
            return None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await link.declare_queue(queue)
        except _AWAY as error:
            log.debug("depth of a queue unknown", queue=queue.name, cause=repr(error))
            return None

    # -- consuming

    def subscribe_shards(
        self, exchange: Exchange, on_message: OnMessage, max_length: int, on_reconnect: OnReconnect | None = None
    ) -> "ShardSubscription":
        """News by routing key, through one exclusive queue of at most `max_length` messages (the oldest are dropped).

        `on_message(key, body)` and `on_reconnect()` are called in the event loop and must not block. `on_reconnect`
        follows each connection once all keys are bound: what was said before is unknown, ask for it.
        """
        self._exchanges[exchange.name] = exchange
        subscription = ShardSubscription(exchange, on_message, max_length, on_reconnect)
        self._subscriptions.append(subscription)
        self._part_added()
        return subscription

    def consume_work(self, queue: WorkQueue, handler: JobHandler, prefetch: int) -> "WorkConsumer":
        """Runs `handler(body)` for each job, at most `prefetch` at a time.

        Return: done. Exception: logged, after a back-off the job comes again, here or elsewhere, up to the queue's
        delivery limit. DeadLetter: to the dead-letter queue at once. HandBack: back to the queue at once.
        """
        self._queues[queue.name] = queue
        consumer = WorkConsumer(queue, handler, prefetch)
        self._consumers.append(consumer)
        self._part_added()
        return consumer

    # -- life

    async def run(self) -> None:
        """Connects, and again whenever the connection is lost, for ever."""
        attempt = 0
        while True:
            self._up.set(0)
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    link = await self._connect()
            except _AWAY as error:
                if attempt % 10 == 0:
                    log.warning("RabbitMQ is away, trying again", cause=repr(error))
            else:
                log.info("connected to RabbitMQ")
                attempt = 0
                await self._serve(link)
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    async def close(self) -> None:
        """Sends the news that still waits (for up to a second) and disconnects. End `run` first."""
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(TimeoutError, *CONNECTION_EXCEPTIONS):  # news is allowed to be lost
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._send_news(link)
            await link.close()

    def _part_added(self) -> None:
        # Rare once running, so there is one way to set parts up: with a connection.
        self._parts += 1
        if self._link is not None:
            self._link.break_off("a subscription or consumer was added")

    async def _connect(self) -> "_Link":
        connection = await aio_pika.connect(self._url, client_properties={"connection_name": self._name})
        parts = self._parts
        try:
            link = await _Link.open(connection)
            await link.declare(self._exchanges.values(), self._queues.values())
            for subscription in self._subscriptions:
                await subscription.set_up(link)
            for consumer in self._consumers:
                await consumer.set_up(link)
        except BaseException:
            await connection.close()
            raise
        if parts != self._parts:
            link.break_off("a subscription or consumer was added meanwhile")
        return link

    async def _serve(self, link: "_Link") -> None:
        """Sends news until the link breaks."""
        self._news.clear()
        self._link = link
        self._up.set(1)
        self._connected.set()
        for subscription in self._subscriptions:
            subscription.tell_reconnected()
        sender = asyncio.create_task(self._send_forever(link), name="bus-news")
        try:
            await asyncio.wait((sender, link.broken), return_when=asyncio.FIRST_COMPLETED)
            log.warning("connection to RabbitMQ lost", cause=link.reason(sender))
            self._link = None
        finally:
            # Cancelled by the process's end, the link stays for close() to flush.
            self._up.set(0)
            self._connected.clear()
            sender.cancel()
            await asyncio.wait((sender,))
            for subscription in self._subscriptions:
                subscription.cut_off()
            for consumer in self._consumers:
                consumer.cut_off()
        await link.close()

    async def _send_forever(self, link: "_Link") -> None:
        while True:
            await self._news_waiting.wait()
            self._news_waiting.clear()
            await self._send_news(link)

    async def _send_news(self, link: "_Link") -> None:
        while self._news:
            exchange, key, body, properties = self._news[0]
            # The layer below aio_pika, waiting for the socket only after the last: half the CPU. Its queue is bounded.
            await link.news_frames.basic_publish(
                body, exchange=exchange, routing_key=key, properties=properties, wait=len(self._news) == 1
            )
            self._news.popleft()  # not before: cancelled above, it is sent again by close(); news may come twice


class ShardSubscription:
    """One process's exclusive queue and the keys bound to it."""

    def __init__(
        self, exchange: Exchange, on_message: OnMessage, max_length: int, on_reconnect: OnReconnect | None
    ) -> None:
        self._exchange = exchange
        self._on_message = on_message
        self._max_length = max_length
        self._on_reconnect = on_reconnect
        self._keys: set[str] = set()
        self._queue: AbstractQueue | None = None

    @property
    def keys(self) -> frozenset[str]:
        """The keys asked for."""
        return frozenset(self._keys)

    async def bind(self, key: str) -> bool:
        """Asks for a key. True: from now on its news comes. False: it will, after the next `on_reconnect`."""
        self._keys.add(key)
        return await self._tell(lambda queue: queue.bind(self._exchange.name, key))

    async def unbind(self, key: str) -> None:
        """Gives a key up; news already on its way still comes."""
        self._keys.discard(key)
        await self._tell(lambda queue: queue.unbind(self._exchange.name, key))

    async def set_up(self, link: "_Link") -> None:
        """Declares, binds and consumes on a new connection."""
        arguments: FieldTable = {"x-max-length": self._max_length, "x-overflow": "drop-head"}
        queue = await link.news.declare_queue(exclusive=True, auto_delete=True, arguments=arguments)
        self._queue = queue  # from here on bind() binds by itself
        for key in list(self._keys):
            if key in self._keys:
                await queue.bind(self._exchange.name, key)
        await queue.consume(self._receive, no_ack=True)

    def tell_reconnected(self) -> None:
        """Called once all subscriptions and consumers of the connection are set up."""
        if self._on_reconnect is not None:
            self._on_reconnect()

    def cut_off(self) -> None:
        """The connection is gone."""
        self._queue = None

    async def _tell(self, action: Callable[[AbstractQueue], Coroutine[Any, Any, Any]]) -> bool:
        if self._queue is None:
            return False
        try:
            await action(self._queue)
        except _AWAY as error:
            log.debug("binding postponed to the next connection", cause=repr(error))
            return False
        return True

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        try:
            self._on_message(message.routing_key or "", message.body)
        except Exception:
            log.exception("news handler failed")


class WorkConsumer:
    """Takes jobs from one queue."""

    def __init__(self, queue: WorkQueue, handler: JobHandler, prefetch: int) -> None:
        self._queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._running: set[asyncio.Task[None]] = set()
        self._consuming: tuple[AbstractQueue, str] | None = None
        self._stopped = False

    @property
    def running(self) -> int:
        """Jobs in work."""
        return len(self._running)

    async def stop(self, deadline: float) -> None:
        """Takes no more jobs and waits for the running ones until `deadline` (event loop time)."""
        self._stopped = True
        consuming, self._consuming = self._consuming, None
        if consuming is not None:
            queue, tag = consuming
            try:
                await queue.cancel(tag)
            except _AWAY as error:
                log.debug("consumer was gone already", cause=repr(error))
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))

    async def set_up(self, link: "_Link") -> None:
        """Consumes on a new connection."""
        if self._stopped:
            return
        channel = await link.open_channel()
        await channel.set_qos(prefetch_count=self._prefetch)
        queue = await channel.get_queue(self._queue.name, ensure=False)
        self._consuming = (queue, await queue.consume(self._receive))

    def cut_off(self) -> None:
        """The connection is gone; running jobs go on."""
        self._consuming = None

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        # A task of our own: the library cancels its consumers' tasks when the connection dies.
        job = asyncio.create_task(self._work(message), name=f"job-{self._queue.name}")
        self._running.add(job)
        job.add_done_callback(self._running.discard)

    async def _work(self, message: AbstractIncomingMessage) -> None:
        try:
            await self._handler(message.body)
        except DeadLetter as error:
            log.error("job can't be done, kept aside", queue=self._queue.name, dead=self._queue.dead, cause=str(error))
            settle = message.reject(requeue=False)
        except HandBack:
            settle = message.reject(requeue=True)
        except Exception:
            failures = int(str(message.headers.get("x-delivery-count") or 0))
            log.exception("job failed", queue=self._queue.name, failures=failures + 1)
            await asyncio.sleep(backoff(failures))  # else a dependency's short absence would use up all deliveries
            settle = message.reject(requeue=True)
        else:
            settle = message.ack()
        try:
            await settle
        except _AWAY as error:
            log.info("job settled after its connection was gone, it will repeat", cause=repr(error))


class _Link:
    """One connection with its channels; broken as a whole when any part of it is."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._exchanges: dict[str, AbstractExchange] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._reason = ""
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.news: AbstractChannel
        self.news_frames: FrameChannel
        self.confirmed: AbstractChannel

    @classmethod
    async def open(cls, connection: AbstractConnection) -> "_Link":
        link = cls(connection)
        link._watch(connection.closed(), "connection closed")
        link.news = await link.open_channel(confirms=False)
        link.news_frames = cast(FrameChannel, await link.news.get_underlay_channel())
        link.confirmed = await link.open_channel()
        return link

    async def open_channel(self, *, confirms: bool = True) -> AbstractChannel:
        channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=False)
        await channel.initialize()
        self._watch(channel.closed(), "channel closed")
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _frame: self.break_off("RabbitMQ cancelled a consumer"))
        return channel

    def exchange(self, name: str) -> AbstractExchange:
        """The handle for confirmed publishing."""
        found = self._exchanges.get(name)
        if found is None:
            found = aio_pika.Exchange(self.confirmed, name) if name else self.confirmed.default_exchange
            self._exchanges[name] = found
        return found

    async def declare(self, exchanges: Any, queues: Any) -> None:
        channel = self.confirmed
        for exchange in exchanges:
            await channel.declare_exchange(exchange.name, aio_pika.ExchangeType(exchange.kind), durable=True)
        if queues:
            await channel.declare_exchange(DEAD_EXCHANGE, aio_pika.ExchangeType.DIRECT, durable=True)
        for queue in queues:
            dead = await channel.declare_queue(
                queue.dead, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": DEAD_LIMIT}
            )
            await dead.bind(DEAD_EXCHANGE, queue.name)
            await self.declare_queue(queue)

    async def declare_queue(self, queue: WorkQueue) -> int:
        """Declares a job queue, or finds it; returns how many jobs wait in it."""
        declared = await self.confirmed.declare_queue(
            queue.name,
            durable=True,
            arguments={
                "x-queue-type": "quorum",
                "x-delivery-limit": queue.delivery_limit,
                "x-dead-letter-exchange": DEAD_EXCHANGE,
                "x-dead-letter-routing-key": queue.name,
            },
        )
        return declared.declaration_result.message_count or 0

    def break_off(self, reason: str) -> None:
        self._reason = self._reason or reason
        if not self.broken.done():
            self.broken.set_result(None)

    def reason(self, sender: asyncio.Task[None]) -> str:
        if sender.done() and not sender.cancelled() and (error := sender.exception()) is not None:
            return repr(error)
        return self._reason

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._connection.close()
        except _AWAY as error:
            log.debug("connection was gone already", cause=repr(error))

    def _watch(self, closed: Awaitable[Any], reason: str) -> None:
        async def watch() -> None:
            try:
                await closed
            except _AWAY as error:
                self.break_off(repr(error))
            else:
                self.break_off(reason)

        self._watchers.append(asyncio.create_task(watch(), name="bus-watch"))
