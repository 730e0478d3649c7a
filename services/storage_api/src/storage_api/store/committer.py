"""Group commit: what is pending in this process goes into few transactions (store.md, rules 1, 3, 6, 7, 8).

Up to `LANES` transactions run at a time; no account is in two of them, so one process never conflicts with itself. An
idle lane starts at once with what the event loop's turn brought; beside a running batch another starts only with a
few mutations to share its cost, and what arrives meanwhile makes the next one. (Two lanes without that took half as
much CPU again for each message.) A batch reads, judges each mutation in memory, writes one bulk per collection,
commits on a majority, and only then answers: whatever was decided from its reads has become durable with it. Nothing
but database calls is awaited inside a transaction.

A group of mutations (`submit_all`) is never split: they commit together or not at all, each with its own verdict.

Failure: a transient error means none of it happened, and the batch runs again; after two conflicts it is split in
halves, as it is after an error that isn't transient (one bad mutation must not take its siblings along). A commit of
unknown outcome is sent again; if that fails the batch runs again, and the receipts show what happened. A caller that
goes away doesn't stop a running batch.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from mailboat_common import crash
from mailboat_common.errors import Failure, Internal, Refused, RefusedCode, Unavailable
from mailboat_common.log import get_logger
from mailboat_store_client.types import NO_MAILBOX, AccountId, MailboxChanged

from ..db import schema
from ..db.driver import (
    Database,
    Document,
    PyMongoError,
    Session,
    is_commit_unknown,
    is_conflict,
    is_duplicate_key,
    is_transient,
)
from ..queue.policy import QueuePolicy
from . import metrics
from .hooks import Hooks
from .leftovers import end_idle_transactions
from .loader import load, load_first
from .mutation import Mutation
from .workspace import DedupeId, Missing, Needs, Workspace
from .writes import date, plan

log = get_logger(__name__)

R = TypeVar("R")

LANES = 2
SECOND_LANE_ITEMS = 4
MAX_ITEMS = 64
MAX_BYTES = 1 << 20
MAX_PENDING = 4096
MAX_LOOK_AHEAD = 256
CALL_SECONDS = 30.0
RECEIPT_MS = 24 * 3600 * 1000
SPLIT_AFTER_CONFLICTS = 2
LEFTOVERS_AFTER_SECONDS = 0.5
LEFTOVERS_EVERY_SECONDS = 0.25
_MAX_ROUNDS = 16


class _GivenUpError(Exception):
    """Someone whose mutation is in the transaction was told meanwhile that it could not be done."""


class _Group:
    """Mutations that commit together, and whoever waits for them."""

    __slots__ = ("accounts", "deadline", "future", "mutations", "size")

    def __init__(self, mutations: list[Mutation[Any]], deadline: float, future: asyncio.Future[list[Any]]) -> None:
        self.mutations = mutations
        self.deadline = deadline
        self.future = future
        self.size = sum(mutation.size for mutation in mutations)
        self.accounts: set[AccountId] = set().union(*(mutation.accounts for mutation in mutations))

    def finish(self, outcome: list[Any]) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Committer:
    """The way every mutation takes. `clock` gives ms since the epoch; `policy` is what mail out keeps to; while
    `paused` nothing is taken.
    """

    def __init__(
        self,
        db: Database,
        hooks: Hooks | None = None,
        *,
        lanes: int = LANES,
        max_pending: int = MAX_PENDING,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        policy: QueuePolicy | None = None,
        with_events: bool = True,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.policy = policy or QueuePolicy()
        self._db = db
        self._with_events = with_events
        self._paused = paused
        self._hooks = hooks or Hooks()
        self._lanes = lanes
        self._max_pending = max_pending
        self._clock = clock
        self._pending: deque[_Group] = deque()
        self._pending_items = 0
        self._busy: set[AccountId] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._pump_planned = False
        self._closed = False

    @property
    def pending(self) -> int:
        """Mutations that wait for a transaction."""
        return self._pending_items

    def now(self) -> int:
        """The committer's clock, ms since the epoch."""
        return self._clock()

    async def submit(self, mutation: Mutation[R], *, seconds: float = CALL_SECONDS) -> R:
        """Commit one mutation. Raises what it refuses with, or Failure."""
        (outcome,) = await self.submit_all([mutation], seconds=seconds)
        if isinstance(outcome, Exception):
            raise outcome
        return cast(R, outcome)

    async def submit_all(self, mutations: Sequence[Mutation[Any]], *, seconds: float = CALL_SECONDS) -> list[Any]:
        """Commit mutations together: the result of each, or the Refused or Internal it met, in order.

        Raises Failure when the transaction as a whole could not be committed, or isn't known to be.
        """
        if self._closed:
            raise Unavailable("the store is closing")
        if self._paused():
            raise Unavailable("a restored database is being put right", retry_after=1.0)
        if self._pending_items + len(mutations) > self._max_pending:
            raise Unavailable("too many mutations wait", retry_after=1.0)
        loop = asyncio.get_running_loop()
        group = _Group(list(mutations), loop.time() + seconds, loop.create_future())
        self._pending.append(group)
        self._pending_items += len(group.mutations)
        self._plan_pump()
        try:
            async with asyncio.timeout(seconds + 1.0):
                return await group.future
        except TimeoutError:
            raise Unavailable("the transaction did not end in time") from None

    async def close(self) -> None:
        """Take nothing new, finish what runs, fail what waits."""
        self._closed = True
        while self._running:
            await asyncio.wait(self._running)
        for group in self._pending:
            group.fail(Unavailable("the store is closing"))
        self._pending.clear()

    # Choosing what goes together

    def _plan_pump(self) -> None:
        if not self._pump_planned:
            self._pump_planned = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_planned = False
        while self._pending and len(self._running) < self._lanes:
            if self._running and self._pending_items < SECOND_LANE_ITEMS:
                return  # the running batch's end takes them
            batch = self._take()
            if not batch:
                return
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)

    def _take(self) -> list[_Group]:
        """The next batch: in order of arrival, without accounts that are in a running one."""
        batch: list[_Group] = []
        passed: list[_Group] = []
        blocked = set(self._busy)
        items = size = 0
        while self._pending and len(passed) < MAX_LOOK_AHEAD:
            group = self._pending[0]
            if not group.future.done() and not blocked.isdisjoint(group.accounts):
                blocked |= group.accounts  # an account's mutations keep their order
                passed.append(self._pending.popleft())
                continue
            if not group.future.done():
                if batch and (items + len(group.mutations) > MAX_ITEMS or size + group.size > MAX_BYTES):
                    break
                batch.append(group)
                items += len(group.mutations)
                size += group.size
            self._pending_items -= len(group.mutations)
            self._pending.popleft()
        self._pending.extendleft(reversed(passed))
        for group in batch:
            self._busy |= group.accounts
        return batch

    async def _run(self, batch: list[_Group]) -> None:
        try:
            await self._commit(batch, _Patience())
        except Exception as error:
            log.exception("A batch failed in an unforeseen way")
            for group in batch:
                group.fail(Internal(f"commit failed: {error!r}"))
        finally:
            for group in batch:
                self._busy -= group.accounts
                group.fail(Unavailable("the commit was given up"))
            task = asyncio.current_task()
            if task is not None:
                self._running.discard(task)
            self._pump()

    # Committing, again and again

    async def _commit(self, batch: list[_Group], patience: _Patience) -> None:
        loop = asyncio.get_running_loop()
        while batch:
            try:
                await self._attempt(batch)
                return
            except Exception as error:
                again = _may_run_again(error)
                if is_conflict(error) or is_duplicate_key(error):
                    metrics.conflicts.inc()
                    patience.conflicts += 1
                if len(batch) > 1 and (not again or patience.conflicts >= SPLIT_AFTER_CONFLICTS):
                    middle = len(batch) // 2
                    await self._commit(batch[:middle], patience.fresh())
                    await self._commit(batch[middle:], patience.fresh())
                    return
                if not again:
                    batch[0].fail(_as_failure(error))
                    return
                for group in batch:
                    if loop.time() >= group.deadline:
                        group.fail(Unavailable(f"could not commit in time: {error!r}"))
                batch = [group for group in batch if not group.future.done()]
            await patience.wait(self._db)

    async def _attempt(self, batch: list[_Group]) -> None:
        """One transaction. Whatever it raises, the groups are untouched and may be tried again."""
        started = time.perf_counter()
        ws = Workspace(self._clock(), self.policy, with_events=self._with_events)
        mutations = [mutation for group in batch for mutation in group.mutations]
        deadline = max(group.deadline for group in batch)
        async with self._db.session() as session:
            await session.begin()
            try:
                await self._read(session, ws, mutations)
                outcomes = [await self._judge(session, ws, mutation) for mutation in mutations]
                await self._write(session, ws)
                if any(group.future.done() for group in batch):
                    raise _GivenUpError
                _points("before_commit", mutations)
                await _commit_until(session, deadline)
            except BaseException:
                await session.abort()
                raise
        _points("after_commit", mutations)
        metrics.batch_size.observe(len(mutations))
        metrics.commit_seconds.observe(time.perf_counter() - started)
        position = 0
        for group in batch:
            group.finish(outcomes[position : position + len(group.mutations)])
            position += len(group.mutations)
        self._tell(ws)

    def _tell(self, ws: Workspace) -> None:
        try:
            if ws.news or ws.changed_trees:
                committed_at = self._clock()
                changes = [MailboxChanged(*news, committed_at, gone) for news, gone in ws.news.values()]
                changes += [
                    MailboxChanged(account_id, NO_MAILBOX, 0, committed_at, tree_version=account.tree_version)
                    for account_id, account in ws.changed_trees.items()
                ]
                self._hooks.on_commit(changes)
            if ws.jobs:
                self._hooks.on_queued(ws.jobs)
            if ws.trace:
                self._hooks.on_trace(ws.trace)
        except Exception:
            log.exception("A hook failed after a commit")  # the commit stands, whoever listens

    async def _read(self, session: Session, ws: Workspace, mutations: list[Mutation[Any]]) -> None:
        needs = Needs()
        keys: list[DedupeId] = []
        for mutation in mutations:
            if mutation.key is not None:
                keys.append((mutation.account_id, mutation.key))
            wanted = mutation.needs()
            keys.extend(wanted.keys)
            needs.merge(wanted)
        await load_first(self._db, session, ws, keys, needs)
        more = Needs()
        for mutation in mutations:
            if mutation.key is not None and (mutation.account_id, mutation.key) in ws.dedupe:
                continue
            if further := mutation.prefetch(ws):
                more.merge(further)
        await load(self._db, session, ws, more)

    async def _judge(self, session: Session, ws: Workspace, mutation: Mutation[Any]) -> Any:
        for _ in range(_MAX_ROUNDS):
            try:
                outcome = _apply(ws, mutation)
            except Missing as missing:
                ws.rollback()
                await load(self._db, session, ws, missing.needs)
                continue
            except Refused as refused:
                ws.rollback()
                return refused
            except Failure as failure:
                ws.rollback()
                return failure
            except Exception as error:
                ws.rollback()
                log.exception("A mutation failed", kind=mutation.kind)
                return Internal(f"{mutation.kind}: {error!r}")
            ws.keep()
            return outcome
        return Internal(f"{mutation.kind} never had all it needs")

    async def _write(self, session: Session, ws: Workspace) -> None:
        crash.point("commit.before_first_write")
        for collection, operations in plan(ws):
            await self._db[collection].bulk_write(operations, session=session)
            crash.point("commit.between_writes")


class _Patience:
    """How long and how often a batch was refused; waits a little longer each time."""

    def __init__(self) -> None:
        self.conflicts = 0
        self._tries = 0
        self._since: float | None = None
        self._looked: float = 0.0

    def fresh(self) -> _Patience:
        """For half of the batch: conflicts are counted anew, the time goes on."""
        other = _Patience()
        other._since = self._since
        other._looked = self._looked
        return other

    async def wait(self, db: Database) -> None:
        """Back off; once refused for 500 ms, end what dead processes left behind."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._tries += 1
        if now - self._since >= LEFTOVERS_AFTER_SECONDS and now - self._looked >= LEFTOVERS_EVERY_SECONDS:
            self._looked = now
            if await end_idle_transactions(db):
                return
        ceiling = min(0.002 * 2.0**self._tries, 0.1)
        await asyncio.sleep(random.uniform(ceiling / 4, ceiling))  # noqa: S311 - jitter, no secret


def _apply(ws: Workspace, mutation: Mutation[Any]) -> Any:
    """Judge one mutation: a repeat is answered from its receipt, the rest is done and gets one."""
    if mutation.key is None:
        return mutation.apply(ws)
    seen = ws.dedupe.get((mutation.account_id, mutation.key))
    if seen is not None:
        if seen.get("kind") != mutation.kind:
            raise Refused(
                RefusedCode.CONFLICT,
                "The request was changed since it was first sent",
                f"key of a {seen.get('kind')} used for a {mutation.kind}",
            )
        return mutation.repeat(ws, seen["r"])
    result = mutation.apply(ws)
    receipt: Document = {
        "_id": {"a": mutation.account_id, "k": mutation.key},
        "kind": mutation.kind,
        "r": mutation.receipt(result),
        "expires": date(ws.now + RECEIPT_MS),
    }
    ws.insert(schema.DEDUPE, receipt)
    ws.remember((mutation.account_id, mutation.key), receipt)
    return result


async def _commit_until(session: Session, deadline: float) -> None:
    """Commit; while the outcome is unknown, commit again (the server knows what it did)."""
    while True:
        try:
            await session.commit()
            return
        except PyMongoError as error:
            if not is_commit_unknown(error) or asyncio.get_running_loop().time() >= deadline:
                raise
            log.warning("A commit's outcome is unknown; committing again", error=str(error))
        await asyncio.sleep(0.05)


def _may_run_again(error: Exception) -> bool:
    if isinstance(error, _GivenUpError):
        return True  # without it: a transaction may have waited for MongoDB for longer than its callers
    return is_transient(error) or is_duplicate_key(error) or is_commit_unknown(error)


def _as_failure(error: Exception) -> Exception:
    if isinstance(error, Failure):
        return error
    if isinstance(error, PyMongoError):
        log.warning("A transaction failed", error=str(error))
        return Unavailable(f"MongoDB: {error!r}")
    log.error("A transaction failed", error=repr(error))
    return Internal(repr(error))


def _points(moment: str, mutations: Sequence[Mutation[Any]]) -> None:
    crash.point(f"commit.{moment}")
    for kind in sorted({mutation.kind for mutation in mutations}):
        crash.point(f"{kind}.{moment}")
