"""EXPIRE (RFC 2449 6.7): after how many days the platform removes what a client retrieved and left.

Before login it is the fewest days that any account has, with USER since another account may have more; NEVER if nobody
has any. After login it is the account's own, as it was at login. When the store can't say, nothing is promised.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mailboat_common.errors import Failure, Refused
from mailboat_common.log import get_logger
from mailboat_store_client.ports import MailboxRead

log = get_logger(__name__)

FRESH_SECONDS = 60.0


def own_days(days: int | None) -> bytes:
    """The argument after login; None is never."""
    return b"NEVER" if days is None else b"%d" % days


class PlatformDays:
    """The argument before login, asked for once a minute at most. `clock` gives seconds that only rise."""

    def __init__(self, read: MailboxRead, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._asked_at: float | None = None
        self._argument = b""

    async def argument(self) -> bytes | None:
        """None when the store can't say."""
        now = self._clock()
        if self._asked_at is None or now - self._asked_at >= FRESH_SECONDS:
            try:
                days = await self._read.maildrop_retention(None)
            except (Failure, Refused) as error:
                log.warning("retention unknown", cause=str(error))
                return None
            self._argument = b"NEVER" if days is None else b"%d USER" % days
            self._asked_at = now
        return self._argument
