"""The store on MongoDB, put together: one committer, the ports, the bodies."""

from __future__ import annotations

from collections.abc import Callable

from ..db.driver import Database
from ..queue.policy import QueuePolicy
from ..queue.port import MongoQueue
from .announcements import MongoTrace
from .bodies import Bodies
from .committer import Committer
from .delivery import MongoDelivery, Sign
from .hooks import Hooks
from .reads import MongoMailboxRead
from .write import MongoMailboxWrite


class MongoStore:
    """The ports a database gives; `directory` is the caller's own. Without `sign` nothing is signed; while `paused`
    nothing is changed or claimed.
    """

    def __init__(
        self,
        db: Database,
        hooks: Hooks | None = None,
        *,
        bodies: Bodies | None = None,
        sign: Sign | None = None,
        policy: QueuePolicy | None = None,
        with_events: bool = True,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.db = db
        self.bodies = bodies or Bodies(db)
        self.committer = Committer(db, hooks, policy=policy, with_events=with_events, paused=paused)
        self.read = MongoMailboxRead(db, self.bodies)
        self.write = MongoMailboxWrite(db, self.committer, self.bodies)
        self.delivery = MongoDelivery(db, self.committer, self.bodies, hooks, sign)
        self.queue = MongoQueue(db, self.committer, hooks, paused=paused)
        self.trace = MongoTrace(db, hooks)

    async def ready(self) -> bool:
        """Whether MongoDB's primary answers."""
        return await self.db.ping()

    async def close(self) -> None:
        """Finish what runs, then end the connections."""
        await self.committer.close()
        await self.db.close()
