"""Delivery worker: takes outbound jobs from RabbitMQ. Keeps nothing; may be killed at any instant."""

from mailboat_common.bus import Bus
from mailboat_common.config import load
from mailboat_common.lifecycle import Lifecycle, run
from mailboat_store_client.http import open_store

from . import jobs
from .settings import Settings


def main() -> None:
    """The process."""
    settings = load(Settings)

    async def start(life: Lifecycle) -> None:
        await open_store(life, settings)
        bus = Bus(settings.amqp_url, "delivery_worker")
        life.on_close(bus.close)
        life.add_check("rabbitmq", lambda: bus.connected)
        consumer = bus.consume_work(jobs.QUEUE, jobs.work, prefetch=settings.jobs_at_once)
        life.spawn(bus.run(), "bus")
        life.on_drain(consumer.stop)

    run("delivery_worker", settings, start)
