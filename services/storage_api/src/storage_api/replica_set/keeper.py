"""Rounds of `Member.mend` for life: every few seconds, with back-off while something is missing.

What keeps the member from being as wanted is told once, again when it changes, and now and then while it lasts.
"""

from __future__ import annotations

import asyncio

from mailboat_common import metrics
from mailboat_common.backoff import backoff
from mailboat_common.log import get_logger

from ..db.driver import PyMongoError
from .member import Member, NotYet, Step, WrongPassword

log = get_logger(__name__)

CHECK_SECONDS = 3.0
ROUND_SECONDS = 30.0
TELL_AGAIN = 60  # rounds: about five minutes

_up = metrics.dependency_up.labels("mongodb")


class Keeper:
    """Keeps one member as wanted."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._told = ""
        self._untold = 0

    async def run(self) -> None:
        """Runs for life."""
        attempt = 0
        while True:
            if await self.round():
                attempt = 0
                await asyncio.sleep(CHECK_SECONDS)
            else:
                await asyncio.sleep(backoff(attempt))
                attempt += 1

    async def round(self) -> bool:
        """One look, and what it finds to do; whether all is as wanted. Every failure is told, none ends the process."""
        try:
            async with asyncio.timeout(ROUND_SECONDS):
                await self._member.mend()
        except WrongPassword as error:
            self._tell("MongoDB refuses the administrator's password", error)
        except NotYet as error:
            self._tell("MongoDB is not as wanted yet", error)
        except (PyMongoError, TimeoutError) as error:
            self._tell("MongoDB could not be set up, trying again", error)
        else:
            if self._told:
                log.info("MongoDB is as wanted")
            self._told = ""
        _up.set(self._member.reached >= Step.ANSWERS)
        return not self._told

    def _tell(self, event: str, error: Exception) -> None:
        told = f"{event}: {type(error).__name__} {getattr(error, 'code', '')}"
        told += str(error) if isinstance(error, NotYet) else ""
        if told != self._told or self._untold >= TELL_AGAIN:
            say = log.error if isinstance(error, WrongPassword) else log.warning
            say(event, cause=str(error) or repr(error))
            self._told, self._untold = told, 0
        else:
            self._untold += 1
