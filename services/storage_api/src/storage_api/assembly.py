"""storage_api put together: what both roles share, the API's listeners, the worker's jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from mailboat_common import metrics
from mailboat_common.asgi import AsgiServer
from mailboat_common.bus import Bus
from mailboat_common.config import SecretFile
from mailboat_common.errors import StartupError
from mailboat_common.lifecycle import Lifecycle
from mailboat_common.log import get_logger
from mailboat_common.sockets import listening_socket
from mailboat_store_client.ports import Delivery, MailboxRead, MailboxWrite, Trace
from mailboat_store_client.queue import Queue

from .audit_log import AuditLog
from .db.driver import Database, PoolWait, PyMongoError, connect
from .db.migrations import migrate
from .directory.accounts import Accounts
from .directory.aliases import Aliases
from .directory.authenticate import Authenticator
from .directory.dkim import DkimKeys
from .directory.domains import Domains
from .directory.passwords import PasswordPool
from .directory.resolve import MongoDirectory
from .directory.schema import STEPS
from .directory.suppressions import Suppressions
from .domain_dns.ask import resolver
from .domain_dns.service import DomainDns
from .events import EventPublisher
from .feed.stream import Stream
from .feed.webhooks import Webhooks
from .feed.worker import Feeds
from .internal.app import InternalApp
from .internal.callers import Callers
from .outage import database_errors
from .queue.notice_sender import NoticeSender
from .queue.operators import QueueOperators
from .queue.publish import JobPublisher
from .queue.scheduler import Scheduler
from .queue.transports import Transports
from .rest.app import create_app
from .rest.context import Context
from .rest.keys import Keys
from .rest.sse import Streams
from .restored.restore_job import RestoreJob
from .restored.restores import Restores
from .settings import Settings
from .signer import Signer
from .space import CHECK_SECONDS, Space
from .store.audit import audit
from .store.compaction import compact_due
from .store.gc import Collector
from .store.hooks import Hooks
from .store.leftovers import check_privileges
from .store.mongo import MongoStore
from .store.retention import RetentionSweep
from .tokens import Tokens
from .trace import TraceLog
from .worker.supervisor import Job

log = get_logger(__name__)

PING_SECONDS = 2.0
INTERNAL_KEEP_ALIVE = 75
COLLECT_SECONDS = 60.0
COMPACT_SECONDS = 30.0
COUNT_SECONDS = 15.0
DKIM_SECONDS = 300.0
NOTICE_SECONDS = 0.5
QUEUE_SECONDS = 0.5
RESTORE_SECONDS = 1.0
RETENTION_SECONDS = 900.0

_pool_wait = metrics.histogram("mongodb_pool_wait_seconds", "Time an operation waited for a connection to MongoDB")
_accepted = metrics.gauge("accepted_pending", "Accepted messages with recipients still to be filed")


def now_ms() -> int:
    """ms since the epoch."""
    return time.time_ns() // 1_000_000


class Core:
    """What both roles have: database, bus, store, traces, disk watch. Nothing is connected before `start`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        name = f"storage-{settings.role}"
        self.db: Database = connect(
            settings.mongodb_uri,
            app=name,
            driver=settings.mongo_driver,
            event_listeners=[PoolWait(_pool_wait.observe)],
        )
        self.bus = Bus(settings.amqp_url, name)
        self.events = EventPublisher(self.bus)
        self.trace = TraceLog(self.db)
        self.stream = Stream(self.db)
        self.space = Space(self.db, settings.min_free_percent)
        self.publisher = JobPublisher(self.db, self.bus, now_ms)
        self.hooks = Hooks(on_commit=self.events.committed, on_trace=self.trace.record, on_queued=self.publisher.queued)
        self.dkim = DkimKeys(self.db, now_ms)
        self.signer = Signer(self.dkim)
        self.restores = Restores(self.db, now_ms)
        self.mongo = MongoStore(
            self.db,
            self.hooks,
            sign=self.signer.sign,
            policy=settings.queue_policy(),
            with_events=settings.events_days > 0,
            paused=self.restores.is_running,
        )
        try:
            self.domain_dns = DomainDns(self.dkim, resolver(settings.dns_servers), settings.hostname)
        except ValueError as error:
            raise StartupError(f"MB_DNS_SERVERS: {error}") from error
        self.database_up = False

    async def start(self, life: Lifecycle) -> None:
        """Waits for MongoDB, migrates, and begins what runs for life.

        RabbitMQ isn't waited for and isn't a condition of readiness: it carries news only, and mail goes on without.
        """
        life.on_close(self.mongo.close)
        life.on_close(self.trace.flush)
        life.on_close(self.bus.close)
        life.spawn(self.bus.run(), "bus")
        await life.wait_for("mongodb", self._open)
        self.database_up = True
        life.add_check("mongodb", lambda: self.database_up)
        life.spawn(self._watch(), "mongodb-watch")
        life.spawn(self.trace.run(), "trace")

    async def _open(self) -> None:
        async with asyncio.timeout(PING_SECONDS * 2):
            if not await self.db.ping():
                raise ConnectionError("MongoDB has no primary we can reach")
        await migrate(self.db, STEPS)
        await check_privileges(self.db)
        await self.space.check()
        await self.restores.look()

    async def _watch(self) -> None:
        """Keeps readiness, `dependency_up` and the disk check true."""
        up = metrics.dependency_up.labels("mongodb")
        checked = time.monotonic()
        while True:
            await asyncio.sleep(PING_SECONDS)
            found = await self._ping()
            if found != self.database_up:
                say = log.info if found else log.warning
                say("MongoDB answers" if found else "MongoDB doesn't answer, waiting for it")
            self.database_up = found
            up.set(found)
            if found:
                await self._look_for_restores()
            if found and time.monotonic() - checked >= CHECK_SECONDS:
                checked = time.monotonic()
                try:
                    await self.space.check()
                except PyMongoError as error:
                    log.warning("disk space of MongoDB unknown", cause=repr(error))

    async def _look_for_restores(self) -> None:
        try:
            await self.restores.look()
        except PyMongoError as error:
            log.warning("it is unknown whether a restore is under way", cause=repr(error))

    async def _ping(self) -> bool:
        try:
            async with asyncio.timeout(PING_SECONDS):
                return await self.db.ping()
        except TimeoutError:
            return False


class Api:
    """The role `api`: internal calls and REST."""

    def __init__(self, core: Core) -> None:
        settings = core.settings
        db = core.db
        self._core = core
        self._draining: Callable[[], bool] = lambda: False
        self.passwords = PasswordPool()
        authenticator = Authenticator(db, self.passwords, now_ms)
        directory = MongoDirectory(db, authenticator, now_ms, core.mongo.delivery.routes)
        self.tokens = Tokens(db, now_ms)
        self.store = ApiStore(core.mongo, directory)
        accounts = Accounts(
            db,
            self.passwords,
            authenticator.verified,
            now_ms,
            changed=directory.forget,
            publish=lambda news: core.events.committed(list(news)),
            with_events=settings.events_days > 0,
        )
        assert settings.internal_token_file is not None, "checked by the settings"
        self.callers = Callers(SecretFile(settings.internal_token_file))
        self.internal = InternalApp(
            self.store,
            self.callers,
            ready=lambda: core.database_up and not self._draining(),
            full=lambda: core.space.full,
            bytes_in_flight=settings.bytes_in_flight,
        )
        self.rest = create_app(
            Context(
                domains=Domains(db, now_ms, directory.forget),
                domain_dns=core.domain_dns,
                accounts=accounts,
                aliases=Aliases(db, now_ms, directory.forget),
                tokens=self.tokens,
                keys=Keys(db, now_ms),
                queue=QueueOperators(db, core.mongo.committer, core.hooks, now_ms),
                transports=Transports(db, core.mongo.queue.transports.forget),
                suppressions=Suppressions(db, now_ms),
                trace=core.trace,
                audit_log=AuditLog(db, now_ms),
                webhooks=Webhooks(db, core.stream, now_ms),
                streams=Streams(core.stream, self._is_draining),
                restores=core.restores,
                mailboxes=core.mongo.read,
                write=core.mongo.write,
                delivery=core.mongo.delivery,
                directory=directory,
                hostname=settings.hostname,
                full=lambda: core.space.full,
                audit=self._audit,
            ),
            bytes_in_flight=settings.bytes_in_flight // 2,
        )

    async def start(self, life: Lifecycle) -> None:
        """Serves both ports. Raises StartupError for a port in use or an unusable token file."""
        settings = self._core.settings
        self._draining = life.draining.is_set
        try:
            self.callers.check()
            if settings.bootstrap_token_file is not None:
                await self.tokens.bootstrap(SecretFile(settings.bootstrap_token_file).text())
        except (OSError, ValueError) as error:
            raise StartupError(str(error)) from error
        host = settings.listen_host
        internal = AsgiServer(
            self.internal,
            listening_socket(host, settings.internal_port, "MB_INTERNAL_PORT"),
            keep_alive_seconds=INTERNAL_KEEP_ALIVE,
            ending=self._is_draining,
        )
        listening = listening_socket(host, settings.rest_port, "MB_REST_PORT")
        rest = AsgiServer(self.rest, listening, ending=self._is_draining)
        for server in (rest, internal):
            await server.start()
            life.on_drain(server.stop)
        log.info("serving", internal_port=internal.port, rest_port=rest.port)

    def _is_draining(self) -> bool:
        return self._draining()

    async def close(self) -> None:
        """Ends the password threads."""
        self.passwords.close()

    async def _audit(self, deep: bool) -> AsyncIterator[dict[str, Any]]:
        async with database_errors():
            async for found in audit(self._core.db, deep=deep):
                yield found.line()


class ApiStore:
    """All ports of this process, for the internal calls."""

    def __init__(self, mongo: MongoStore, directory: MongoDirectory) -> None:
        self._mongo = mongo
        self.directory = directory
        self.read: MailboxRead = mongo.read
        self.write: MailboxWrite = mongo.write
        self.delivery: Delivery = mongo.delivery
        self.queue: Queue = mongo.queue
        self.trace: Trace = mongo.trace

    async def ready(self) -> bool:
        """Whether MongoDB answers."""
        return await self._mongo.ready()

    async def close(self) -> None:
        """The store is closed by its owner."""


def jobs(core: Core, feeds: Feeds) -> list[Job]:
    """The role `worker`: what is done again and again; nothing else while a restored database is put right."""
    collector = Collector(core.db)
    retention = RetentionSweep(core.db, core.mongo.committer)
    directory = MongoDirectory(core.db, Authenticator(core.db, PasswordPool(), now_ms), now_ms)
    sign = core.signer.sign_for_host
    notices = NoticeSender(core.mongo, directory, core.hooks, sign)
    queue = Scheduler(core.db, core.mongo.queue, core.publisher)

    async def sweep(now: int) -> bool:
        return await core.mongo.delivery.sweep_accepted(now) > 0

    async def collect(now: int) -> bool:
        return (await collector.collect(now)).more

    async def compact(now: int) -> bool:
        return await compact_due(core.db, core.mongo.committer, now) > 0

    async def count(_now: int) -> bool:
        _accepted.set(await core.db["accepted"].count({}))
        return False

    waiting = [
        Job("accepted", 1.0, sweep),
        *feeds.jobs(),
        Job("collect", COLLECT_SECONDS, collect),
        Job("dkim", DKIM_SECONDS, core.domain_dns.sweep),
        Job("compact", COMPACT_SECONDS, compact),
        Job("count", COUNT_SECONDS, count),
        Job("notices", NOTICE_SECONDS, notices.run),
        Job("queue", QUEUE_SECONDS, queue.run),
        Job("queue_count", COUNT_SECONDS, queue.count),
        Job("queue_sweep", COLLECT_SECONDS, queue.sweep),
        Job("retention", RETENTION_SECONDS, retention.run),
    ]
    restore = Job("restore", RESTORE_SECONDS, RestoreJob(core.db, core.restores, core.hooks).run)
    return [restore, *(replace(job, run=_unless(core.restores.is_running, job.run)) for job in waiting)]


def _unless(hindered: Callable[[], bool], run: Callable[[int], Awaitable[bool]]) -> Callable[[int], Awaitable[bool]]:
    """A job that does nothing meanwhile."""

    async def run_unless(now: int) -> bool:
        return False if hindered() else await run(now)

    return run_unless
