"""Delivery worker: takes outbound jobs from RabbitMQ and delivers. Keeps nothing; may be killed at any instant."""

import asyncio

from mailboat_common.bus import Bus
from mailboat_common.config import load
from mailboat_common.errors import StartupError
from mailboat_common.ids import encode_id, uuid7
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_store_client.http import open_store
from mailboat_store_client.jobs import DELIVERY
from mailboat_store_client.queue import Queue

from . import jobs
from .budget import Budget
from .delivery import Deliverer
from .destination import Destinations
from .lookup import DnsLookup, make_resolver
from .mta_sts import HttpsFetch, Policies
from .mx import Exchangers
from .pool import Pool, Troubles
from .remote_tls import valid_certificate
from .route import Router
from .settings import Settings
from .smtp_session import Opener
from .timeouts import Timeouts

PREFETCH = 4  # times the attempts at once: what waits, so that a slow destination leaves others to do


async def make_pool(settings: Settings) -> Pool:
    """Connections as the settings say."""
    opener = Opener(settings.hostname, Timeouts().scaled(settings.timeouts_factor))
    return Pool(
        opener,
        Troubles(),
        limit=settings.connections_per_destination,
        idle_seconds=settings.connection_idle_seconds,
        max_messages=settings.connection_messages,
    )


async def make_dispatcher(settings: Settings, queue: Queue, pool: Pool) -> jobs.Dispatcher:
    """All parts put together. Raises StartupError."""
    try:
        resolver = await asyncio.to_thread(make_resolver, settings.dns_servers)
    except ValueError as error:
        raise StartupError(f"MB_DNS_SERVERS: {error}") from None
    lookup = DnsLookup(resolver)
    exchangers = Exchangers(lookup, settings.hostname, settings.mx_networks)
    policies = Policies(lookup, HttpsFetch(exchangers, valid_certificate()))
    destinations = Destinations[jobs.Pending](
        limit=settings.connections_per_destination, room=settings.jobs_at_once * PREFETCH
    )
    router = Router(exchangers, policies, port=settings.mx_port)
    return jobs.Dispatcher(
        queue,
        Deliverer(router, pool, destinations.learn),
        destinations,
        Budget(settings.content_bytes),
        worker=f"{settings.hostname}/{encode_id(uuid7())}",
        at_once=settings.jobs_at_once,
    )


def main() -> None:
    """The process."""
    settings = load(Settings)

    async def start(life: Lifecycle) -> None:
        store = await open_store(life, settings)
        pool = await make_pool(settings)
        life.on_close(pool.close)
        dispatcher = await make_dispatcher(settings, store.queue, pool)
        bus = Bus(settings.amqp_url, "delivery_worker")
        life.on_close(bus.close)
        life.add_check("rabbitmq", lambda: bus.connected)
        consumer = bus.consume_work(DELIVERY, dispatcher.work, prefetch=settings.jobs_at_once * PREFETCH)
        life.spawn(dispatcher.run(), "dispatcher")
        life.spawn(dispatcher.leases.run(), "leases")
        life.spawn(bus.run(), "bus")

        async def drain(deadline: float) -> None:
            # Together: jobs handed back come again until the consumer is gone, and it waits for those that run.
            await asyncio.gather(consumer.stop(deadline), dispatcher.drain(deadline))

        life.on_drain(drain)

    run("delivery_worker", settings, start)
