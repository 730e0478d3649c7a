"""Sessions kept for the next message, how many there are to one server, and servers that are left alone for a while.

RFC 5321 4.5.4.1 (a host that can't be reached isn't tried for every message; several messages on one connection).

Rules: a session is used again only on the same terms (`Endpoint`: host, address, port, TLS, credentials). It is closed
after `idle_seconds` without use, after `max_messages`, or when the server says anything unasked. At most `MAX_IDLE` are
kept in all. A server that couldn't be spoken to is skipped for 30 s, doubling to 4 minutes, which is less than the
first retry of a message waits: a scheduled retry does knock. Whoever waited for such a server gets its last error at
once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from . import metrics
from .smtp_session import Endpoint, Opener, Session, Unreachable

MAX_IDLE = 500
MAX_REMEMBERED = 10_000
FIRST_BLOCK = 30.0
LONGEST_BLOCK = 240.0


@dataclass(slots=True)
class _Trouble:
    error: Unreachable
    until: float
    seconds: float


class Troubles:
    """Servers that couldn't be spoken to lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[Endpoint, _Trouble] = OrderedDict()

    def of(self, endpoint: Endpoint) -> Unreachable | None:
        """The last error of a server that isn't to be tried now."""
        trouble = self._known.get(endpoint)
        return trouble.error if trouble is not None and trouble.until > self._clock() else None

    def failed(self, endpoint: Endpoint, error: Unreachable) -> None:
        """It couldn't be spoken to."""
        now = self._clock()
        before = self._known.get(endpoint)
        if before is None:
            seconds = FIRST_BLOCK
        elif before.until > now:  # others that were under way at the same time
            seconds = before.seconds
        else:
            seconds = min(before.seconds * 2, LONGEST_BLOCK)
        self._known[endpoint] = _Trouble(error, now + seconds, seconds)
        self._known.move_to_end(endpoint)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def worked(self, endpoint: Endpoint) -> None:
        """It could be spoken to."""
        self._known.pop(endpoint, None)


@dataclass(slots=True)
class _Server:
    """One address and port: sessions in use, and who waits for one."""

    busy: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Pool:
    """Gives sessions and takes them back. `limit`: sessions in use to one address and port."""

    def __init__(
        self, opener: Opener, troubles: Troubles, *, limit: int, idle_seconds: float, max_messages: int
    ) -> None:
        self.opener = opener
        self.troubles = troubles
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._max_messages = max_messages
        self._idle: OrderedDict[Session, asyncio.TimerHandle] = OrderedDict()
        self._by_endpoint: dict[Endpoint, list[Session]] = {}
        self._servers: dict[tuple[str, int], _Server] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def has_idle(self, endpoint: Endpoint) -> bool:
        """Whether a session is there for the taking."""
        return endpoint in self._by_endpoint

    async def acquire(self, endpoint: Endpoint) -> Session:
        """A session, kept or new; `release` or `discard` it. Raises Unreachable."""
        server = self._servers.setdefault((endpoint.address, endpoint.port), _Server())
        if server.busy >= self._limit:
            turn = asyncio.get_running_loop().create_future()
            server.waiting.append(turn)
            try:
                await turn  # the slot is handed over: `busy` stays
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave(endpoint)
                else:
                    server.waiting.remove(turn)
                raise
        else:
            server.busy += 1
        try:
            session = self._take(endpoint) or await self._open(endpoint)
        except BaseException:
            self._leave(endpoint)
            raise
        metrics.open_busy.inc()
        return session

    def release(self, session: Session) -> None:
        """Give a session back after its transaction."""
        self._leave(session.endpoint)
        metrics.open_busy.dec()
        if self._closed or not session.usable or session.messages >= self._max_messages or not self._idle_seconds:
            self._close(session)
            return
        loop = asyncio.get_running_loop()
        self._idle[session] = loop.call_later(self._idle_seconds, self._expire, session)
        self._by_endpoint.setdefault(session.endpoint, []).append(session)
        metrics.open_idle.set(len(self._idle))
        if len(self._idle) > MAX_IDLE:
            self._expire(next(iter(self._idle)))

    def discard(self, session: Session) -> None:
        """Give a session back that can't be used again."""
        self._leave(session.endpoint)
        metrics.open_busy.dec()
        session.stream.abort()

    async def close(self) -> None:
        """QUIT on every session that is kept."""
        self._closed = True
        for session in list(self._idle):
            self._expire(session)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _open(self, endpoint: Endpoint) -> Session:
        if (trouble := self.troubles.of(endpoint)) is not None:
            raise trouble
        try:
            session = await self.opener.open(endpoint)
        except Unreachable as error:
            metrics.connections.labels("failed").inc()
            self.troubles.failed(endpoint, error)
            raise
        metrics.connections.labels("tls" if session.tls else "clear").inc()
        self.troubles.worked(endpoint)
        return session

    def _take(self, endpoint: Endpoint) -> Session | None:
        while sessions := self._by_endpoint.get(endpoint):
            session = sessions[-1]  # the one used last: the others grow old and are closed
            self._forget(session)
            if session.usable:
                metrics.connections.labels("reused").inc()
                return session
            session.stream.abort()
        return None

    def _forget(self, session: Session) -> None:
        self._idle.pop(session).cancel()
        sessions = self._by_endpoint[session.endpoint]
        sessions.remove(session)
        if not sessions:
            del self._by_endpoint[session.endpoint]
        metrics.open_idle.set(len(self._idle))

    def _expire(self, session: Session) -> None:
        self._forget(session)
        self._close(session)

    def _close(self, session: Session) -> None:
        if not session.usable:
            session.stream.abort()
            return
        task = asyncio.create_task(session.stream.quit(self.opener.timeouts.quit), name="smtp-quit")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _leave(self, endpoint: Endpoint) -> None:
        key = (endpoint.address, endpoint.port)
        server = self._servers[key]
        while server.waiting:
            turn = server.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        server.busy -= 1
        if not server.busy:
            del self._servers[key]
