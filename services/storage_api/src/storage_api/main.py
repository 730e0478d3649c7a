"""storage_api: the storage authority. `MB_ROLE=api` serves internal calls and REST, `worker` sweeps and collects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mailboat_common.config import load
from mailboat_common.lifecycle import Lifecycle, run

from .assembly import Api, Core, jobs, now_ms
from .feed.worker import Feeds
from .settings import Settings
from .worker.supervisor import Supervisor

Start = Callable[[Lifecycle], Awaitable[None]]


def api(settings: Settings) -> Start:
    """The life of the role `api`."""

    async def start(life: Lifecycle) -> None:
        core = Core(settings)
        await core.start(life)
        server = Api(core)
        life.on_close(server.close)
        await server.start(life)

    return start


def worker(settings: Settings) -> Start:
    """The life of the role `worker`. A drain lets running rounds end."""

    async def start(life: Lifecycle) -> None:
        core = Core(settings)
        feeds = Feeds(core.db, core.bus, core.stream, settings, now_ms)
        await core.start(life)
        life.on_close(feeds.close)
        supervisor = Supervisor(jobs(core, feeds), now_ms)
        work = life.spawn(supervisor.run(), "jobs")
        life.spawn(feeds.webhooks.run(), "webhooks")

        async def drain(deadline: float) -> None:
            supervisor.stop()
            await feeds.webhooks.stop(deadline)
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait((work,), timeout=left)

        life.on_drain(drain)

    return start


def main() -> None:
    """The process's entry."""
    settings = load(Settings)
    if settings.role == "worker":
        run("storage_worker", settings, worker(settings))
    else:
        run("storage_api", settings, api(settings))
