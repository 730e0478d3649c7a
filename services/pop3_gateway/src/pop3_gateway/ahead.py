"""Messages read ahead: clients ask for n, n+1, n+2, and one call for many costs little more than a call for one.

Rules: what all sessions of the process hold is bounded by bytes, the longest unused goes first; so is what runs calls
fetch. Nothing depends on it: a message that isn't here is streamed from the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from mailboat_common.limits import ByteBudget
from mailboat_store_client.ports import MailboxRead
from mailboat_store_client.types import AccountId, BodyId

LIMIT_BYTES = 64 * 1024 * 1024


class ReadAhead:
    """One per process. Holds up to `limit` bytes, and fetches up to as many at once."""

    def __init__(self, read: MailboxRead, limit: int = LIMIT_BYTES) -> None:
        self.held_bytes = 0
        self._read = read
        self._limit = limit
        self._held: OrderedDict[tuple[AccountId, BodyId], bytes] = OrderedDict()
        self._fetching = ByteBudget(limit)

    async def fetch(self, account_id: AccountId, body_ids: Sequence[BodyId], size: int) -> None:
        """Hold these messages, `size` bytes in all; no effect while others fetch too much.

        Messages that are gone are left out. Raises Failure.
        """
        if not self._fetching.try_acquire(size):
            return
        try:
            contents = await self._read.contents(account_id, body_ids, size)
        finally:
            self._fetching.release(size)
        for body_id, content in zip(body_ids, contents, strict=False):  # the answer may stop early
            if content is not None:
                self._hold((account_id, body_id), content)

    def peek(self, account_id: AccountId, body_id: BodyId) -> bytes | None:
        """A message that is held, and stays so."""
        return self._held.get((account_id, body_id))

    def take(self, account_id: AccountId, body_id: BodyId) -> bytes | None:
        """A message that is held, and no more from now on: it is asked for once."""
        content = self._held.pop((account_id, body_id), None)
        if content is not None:
            self.held_bytes -= len(content)
        return content

    def forget(self, account_id: AccountId, body_ids: Iterable[BodyId]) -> None:
        """Let go of what nobody will ask for."""
        for body_id in body_ids:
            self.take(account_id, body_id)

    def _hold(self, key: tuple[AccountId, BodyId], content: bytes) -> None:
        self.take(*key)
        self._held[key] = content
        self.held_bytes += len(content)
        while self.held_bytes > self._limit:
            _, oldest = self._held.popitem(last=False)
            self.held_bytes -= len(oldest)
