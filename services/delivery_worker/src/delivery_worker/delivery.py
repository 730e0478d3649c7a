"""One attempt at one document: its servers tried in order until every recipient has an answer.

RFC 5321 5.1 (the list of addresses is gone through until one delivery succeeds or all have failed), 4.5.4.1.

Rules: a server that can't be spoken to, closes (421) or breaks the connection before the message is complete hands on
to the next; a 4xx or 5xx reply to MAIL, RCPT or the message is an answer and ends it for the recipients it concerns.
Among servers of equal preference one with an open session comes first. At most `MAX_TRIES` connections are made.
Results are reported after each transaction, before anything else is sent for the document.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from mailboat_common import crash
from mailboat_store_client.queue import Claimed, Outcome, QueuedRecipient, RecipientReport
from mailboat_wire.smtp import Reply

from . import metrics
from .mx import NoRoute
from .pool import Pool
from .preparation import Unsendable, check_size
from .route import Route, Router
from .smtp_session import Endpoint, Session, Unreachable
from .smtp_stream import Broken
from .smtp_transaction import BrokenOff, Transaction
from .stopwatch import Stopwatch

MAX_TRIES = 10
SHOWN_WAIT = 0.001  # seconds: to take a kept session takes less

ROUTE_TIME = metrics.duration.labels("route")
CONNECT_TIME = metrics.duration.labels("connect")
TRANSACTION_TIME = metrics.duration.labels("transaction")


@dataclass(slots=True)
class Work:
    """A claimed document in work, as `deliver` sees it.

    `content` gives the message; `may_finish` says whether the claim still holds, and sets `committed` if so; `report`
    commits results, with `final` the attempt is over. While `committed` the work isn't to be cancelled.
    """

    claimed: Claimed
    content: Callable[[], Awaitable[bytes]]
    may_finish: Callable[[], bool]
    report: Callable[[Sequence[RecipientReport], bool], Awaitable[None]]
    hop: str = ""
    committed: bool = False
    unreachable: bool = False
    results: list[RecipientReport] = field(default_factory=list)
    watch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why a server wasn't the one; what the recipients are told if none was."""

    outcome: Outcome
    status: str
    reason: str
    reply: Reply | None = None
    host: str = ""


class Deliverer:
    """Delivers documents. `routed` is told each domain's hop."""

    def __init__(
        self, router: Router, pool: Pool, routed: Callable[[str, str], None] = lambda domain, hop: None
    ) -> None:
        self._router = router
        self._pool = pool
        self.routed = routed

    async def deliver(self, work: Work) -> None:
        """Ends with the final report. Raises BrokenOff; cancelled, it leaves what isn't reported to the caller."""
        started = time.monotonic()
        work.watch.start("lookup")
        try:
            route = await self._router.route(work.claimed)
        except NoRoute as nothing:
            await self._settle(work, work.claimed.recipients, _of_route(nothing))
            return
        finally:
            ROUTE_TIME.observe(time.monotonic() - started)
        work.hop = route.hop
        self.routed(work.claimed.domain, route.hop)
        await _Attempt(self._router, self._pool, work, route).run()

    @staticmethod
    async def _settle(work: Work, recipients: Sequence[QueuedRecipient], trouble: _Trouble) -> None:
        await _report(work, [_result(recipient, trouble) for recipient in recipients], final=True)


class _Attempt:
    """The state of one attempt at one route."""

    def __init__(self, router: Router, pool: Pool, work: Work, route: Route) -> None:
        self._router = router
        self._pool = pool
        self._work = work
        self._route = route
        self._left = list(work.claimed.recipients)
        self._troubles: list[_Trouble] = []
        self._tries = 0

    async def run(self) -> None:
        async for found in self._router.endpoints(self._route):
            if isinstance(found, NoRoute):
                self._troubles.append(_of_route(found))
                continue
            for endpoint in sorted(found, key=lambda endpoint: not self._pool.has_idle(endpoint)):
                await self._at(endpoint)
                if not self._left:
                    return
            self._work.watch.start("lookup")
        self._work.unreachable = True
        trouble = self._judged()
        await _report(self._work, [_result(recipient, trouble) for recipient in self._left], final=True)

    async def _at(self, endpoint: Endpoint) -> None:
        """Try one server; what it didn't answer for stays in `_left`."""
        while self._left:
            if self._tries >= MAX_TRIES:
                return
            session = await self._session(endpoint)
            if session is None:
                return
            crash.point("delivery.connected")
            kept = session.messages > 0
            if not kept:
                self._tries += 1
            if not await self._send(session, kept=kept):
                return

    async def _session(self, endpoint: Endpoint) -> Session | None:
        started = time.monotonic()
        known = self._pool.troubles.of(endpoint)
        self._work.watch.start("connect")
        try:
            session = await self._pool.acquire(endpoint)
        except Unreachable as error:
            if known is None:
                self._tries += 1
            outcome = Outcome.FAILED if error.never else Outcome.DEFERRED
            self._troubles.append(_Trouble(outcome, error.status, error.reason, error.reply, str(endpoint)))
            return None
        finally:
            self._work.watch.stop()
            CONNECT_TIME.observe(time.monotonic() - started)
        self._split_connect(session, time.monotonic() - started)
        return session

    def _split_connect(self, session: Session, seconds: float) -> None:
        """Of the time until there was a session: what was TLS, and what was waiting for one to be free."""
        new = session.messages == 0
        parts = {"tls": session.tls_seconds} if new and session.tls_seconds else {}
        waited = seconds - (session.open_seconds if new else 0.0)
        if waited >= SHOWN_WAIT:
            parts["wait"] = waited
        self._work.watch.split("connect", parts)
        if not new and self._tries == 0:
            self._work.watch.forget("connect")

    async def _send(self, session: Session, *, kept: bool) -> bool:
        """Transactions on the session until all is said. True: the session was dead already, try the server again."""
        given_back = False
        started = time.monotonic()
        try:
            check_size(self._work.claimed.size, session.extensions)
            content = await self._work.content()
            while self._left:
                transaction = Transaction(
                    session,
                    self._work.claimed,
                    self._left,
                    self._pool.opener.timeouts,
                    self._work.may_finish,
                    watch=self._work.watch,
                )
                broken = await self._transact(transaction, content)
                if broken is None and not self._left:
                    given_back = True
                    TRANSACTION_TIME.observe(time.monotonic() - started)
                    self._pool.release(session)
                if transaction.results:
                    await _report(self._work, transaction.results, final=not self._left)
                self._work.committed = False  # not before: what the server said must be told
                if broken is not None:
                    if kept and not transaction.answered:
                        return True
                    host = str(session.endpoint)
                    self._troubles.append(_Trouble(Outcome.DEFERRED, broken.status, broken.reason, broken.reply, host))
                    return False
        except Unsendable as refused:
            given_back = True
            self._pool.release(session)
            trouble = _Trouble(Outcome.FAILED, refused.status, refused.reason, host=str(session.endpoint))
            await _report(self._work, [_result(recipient, trouble) for recipient in self._left], final=True)
            self._left = []
        finally:
            if not given_back:
                self._pool.discard(session)
        return False

    async def _transact(self, transaction: Transaction, content: bytes) -> Broken | None:
        """One transaction; `_left` is then who is still without an answer."""
        broken = None
        try:
            await transaction.run(content)
        except Broken as error:
            broken = error
        answered = {result.address for result in transaction.results}
        self._left = [recipient for recipient in self._left if recipient.address not in answered]
        return broken

    def _judged(self) -> _Trouble:
        """What all the troubles together mean: one that may pass keeps the message."""
        for trouble in reversed(self._troubles):
            if trouble.outcome is Outcome.DEFERRED:
                return trouble
        if self._troubles:
            return self._troubles[-1]
        return _Trouble(Outcome.DEFERRED, "4.4.1", "no mail host could be tried")


def _of_route(nothing: NoRoute) -> _Trouble:
    return _Trouble(nothing.outcome, nothing.status, nothing.reason)


def _result(recipient: QueuedRecipient, trouble: _Trouble) -> RecipientReport:
    status = trouble.status
    if trouble.outcome is Outcome.DEFERRED:
        status = "4" + status[1:]
    elif trouble.outcome is Outcome.FAILED:
        status = "5" + status[1:]
    reply = "" if trouble.reply is None else str(trouble.reply)
    return RecipientReport(
        recipient.address, trouble.outcome, status, reply=reply, reason=trouble.reason, host=trouble.host
    )


async def _report(work: Work, results: Sequence[RecipientReport], *, final: bool) -> None:
    work.watch.stop()
    work.results += results
    for result in results:
        metrics.recipients.labels(result.outcome.value).inc()
    await work.report(results, final)


__all__ = ["BrokenOff", "Deliverer", "Work"]
