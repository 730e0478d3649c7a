"""A service's life: start, serve, drain, end. The same in every service, so a `main` is a page.

    async def start(life: Lifecycle) -> None:
        store = HttpStore(...)
        life.on_close(store.close)
        server = ProtocolServer(...)
        await server.start()
        life.on_drain(server.drain)

    def main() -> None:
        settings = load(Settings)
        run("imap_gateway", settings, start)

Order on SIGTERM or SIGINT: not ready at once; keep accepting `min(3, drain_seconds / 4)` s, because load balancers
need a moment to notice; the `on_drain` callbacks in order of registration with one common deadline; the `on_close`
callbacks in reverse order (what was opened last is closed first); exit 0. A second signal exits at once. SIGKILL is
always safe.

A dependency that is away is waited for (`wait_for`), not ready meanwhile; it never ends the process. What can't be
cured by waiting (a port in use, no certificate) raises StartupError: one line, exit 1.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from importlib import metadata
from typing import Any, TypeVar

import uvloop

from mailboat_common import log as logs
from mailboat_common import metrics
from mailboat_common.backoff import backoff
from mailboat_common.config import ServiceSettings
from mailboat_common.errors import StartupError
from mailboat_common.health import AdminServer

T = TypeVar("T")
log = logs.get_logger(__name__)

KEEP_ACCEPTING_SECONDS = 3.0
OVERTIME_SECONDS = 1.0  # a drain callback that doesn't keep its deadline is cancelled
CLOSE_SECONDS = 5.0
GC_ALLOCATIONS = 5_000  # net new containers after which the youngest generation is looked at
LAG_INTERVAL = 0.1
LAG_WINDOW = 100  # samples: the gauge is the worst of the last 10 s


class Lifecycle:
    """What a service's `start` gets: the hooks into the process's life."""

    def __init__(self, service: str, admin: AdminServer, drain_seconds: float) -> None:
        self.service = service
        self.admin = admin
        self.drain_seconds = drain_seconds
        self.draining = asyncio.Event()
        self._drain_callbacks: list[Callable[[float], Awaitable[None]]] = []
        self._close_callbacks: list[Callable[[], Awaitable[None]]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add_check(self, name: str, check: Callable[[], bool]) -> None:
        """Registers a condition of readiness."""
        self.admin.add_check(name, check)

    def on_drain(self, callback: Callable[[float], Awaitable[None]]) -> None:
        """`callback(deadline)` finishes running work; `deadline` is event loop time and common to all callbacks."""
        self._drain_callbacks.append(callback)

    def on_close(self, callback: Callable[[], Awaitable[None]]) -> None:
        """`callback()` gives a resource back, after the drain or when starting failed."""
        self._close_callbacks.append(callback)

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A background task that is meant to run for life: an exception in it ends the process with status 1.

        It is cancelled before the `on_close` callbacks. Half a service is worse than none: Kubernetes restarts it.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    async def wait_for(self, dependency: str, connect: Callable[[], Awaitable[T]]) -> T:
        """The result of `connect()`, tried with back-off until it succeeds; the dependency is down meanwhile.

        Every Exception but StartupError counts as "away". The first failure and then every tenth is logged.
        """
        up = metrics.dependency_up.labels(dependency)
        up.set(0)
        self.admin.add_check(dependency, lambda: False)
        attempt = 0
        while True:
            try:
                result = await connect()
            except StartupError:
                raise
            except Exception as error:
                if attempt % 10 == 0:
                    log.warning("dependency is away, waiting for it", dependency=dependency, cause=repr(error))
                await asyncio.sleep(backoff(attempt))
                attempt += 1
            else:
                up.set(1)
                self.admin.add_check(dependency, lambda: True)
                if attempt:
                    log.info("dependency is there", dependency=dependency)
                return result

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        self.admin.draining = True
        metrics.draining.set(1)
        deadline = loop.time() + self.drain_seconds
        log.info("draining", seconds=self.drain_seconds)
        self.draining.set()
        if self._drain_callbacks:
            await asyncio.sleep(min(KEEP_ACCEPTING_SECONDS, self.drain_seconds / 4))
        for callback in self._drain_callbacks:
            try:
                async with asyncio.timeout_at(deadline + OVERTIME_SECONDS):
                    await callback(deadline)
            except Exception:
                log.exception("drain step failed")

    async def _close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for callback in reversed(self._close_callbacks):
            try:
                await asyncio.wait_for(callback(), CLOSE_SECONDS)
            except Exception:
                log.exception("close step failed")


Start = Callable[[Lifecycle], Awaitable[None]]


def run(service_name: str, settings: ServiceSettings, start: Start) -> None:
    """Runs a service until it is told to end, and exits the process: 0 after a drain, 1 when it couldn't go on."""
    logs.configure(service_name, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(serve(service_name, settings, start))
    sys.exit(status)


async def serve(service_name: str, settings: ServiceSettings, start: Start) -> int:
    """The whole life inside a running loop; the exit status."""
    stop = asyncio.Event()
    _install_signal_handlers(stop)
    metrics.build_info.labels(service_name, _version()).set(1)
    metrics.draining.set(0)
    try:
        admin = AdminServer(settings.admin_port, settings.listen_host)
    except StartupError as error:
        log.error("can't start", cause=str(error))
        return 1
    life = Lifecycle(service_name, admin, settings.drain_seconds)
    await admin.start()
    life.spawn(_sample_lag(), "event-loop-lag")
    status = await _live(life, start, stop)
    await life._close()
    await admin.stop()
    log.info("ended", status=status)
    return status


async def _live(life: Lifecycle, start: Start, stop: asyncio.Event) -> int:
    stopping = asyncio.create_task(stop.wait(), name="stop-signal")
    starting = asyncio.ensure_future(start(life))
    try:
        await asyncio.wait((starting, stopping, life._broken), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            life.admin.started = True
            _tame_garbage_collection()
            log.info("started", admin_port=life.admin.port)
            await asyncio.wait((stopping, life._broken), return_when=asyncio.FIRST_COMPLETED)
        if life._broken.done():
            life._broken.result()
        if starting.done():
            await life._drain()
    except StartupError as error:
        log.error("can't start", cause=str(error))
        return 1
    except Exception:
        log.exception("can't go on")
        return 1
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.wait((starting, stopping))
        if life._broken.done() and not life._broken.cancelled():
            life._broken.exception()  # seen above or overtaken by the end; the loop must not complain of it
    return 0


def _tame_garbage_collection() -> None:
    """What was imported stays for good, and a loop of short-lived tasks allocates 700 objects in no time: both made the
    collector of cycles cost a twelfth of storage_api's CPU under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 10, 10)


def _install_signal_handlers(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def handle(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("second signal, ending at once", signal=number.name)
            os._exit(128 + number)
        log.info("told to end", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)


async def _sample_lag() -> None:
    """Keeps `event_loop_lag_seconds`: how late a timer of 100 ms comes, the worst of ten seconds."""
    loop = asyncio.get_running_loop()
    worst = [0.0] * LAG_WINDOW
    position = 0
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_INTERVAL)
        worst[position] = max(0.0, loop.time() - before - LAG_INTERVAL)
        position = (position + 1) % LAG_WINDOW
        metrics.event_loop_lag.set(max(worst))


def _version() -> str:
    return metadata.version("mailboat-common")
