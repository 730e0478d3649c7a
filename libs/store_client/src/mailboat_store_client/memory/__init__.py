"""An in-memory store with the ports' semantics: for unit and transcript tests, and as the contract's plain statement.

It passes the same contract suite as the real store. One process, one event loop; nothing is ever lost or delayed, and
nothing awaits between reading and writing, so each call is atomic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .delivery import MemoryDelivery
from .directory import MemoryDirectory
from .queue import MemoryQueue
from .read import MemoryMailboxRead
from .state import State
from .trace import MemoryTrace
from .write import MemoryMailboxWrite

__all__ = ["MemoryStore"]


class MemoryStore(State):
    """All ports in one object: `store.directory`, `.read`, `.write`, `.delivery`, `.queue`, `.trace` on one state.

    `add_account` makes an account with the default mailboxes; `subscribe` registers a callback for
    `MailboxChanged` news.
    """

    def __init__(self, domains: Sequence[str] = ("example.test",), clock: Callable[[], int] | None = None) -> None:
        super().__init__(domains, clock)
        self.directory = MemoryDirectory(self)
        self.read = MemoryMailboxRead(self)
        self.write = MemoryMailboxWrite(self)
        self.queue = MemoryQueue(self)
        self.delivery = MemoryDelivery(self, self.queue)
        self.trace = MemoryTrace(self)

    async def ready(self) -> bool:
        """Whether the store answers."""
        return self.available

    async def close(self) -> None:
        """Nothing to end."""
