"""The Trace port of the fake."""

from __future__ import annotations

from collections.abc import Sequence

from ..types import Announcement
from .state import State


class MemoryTrace:
    """The Trace port. `announcements` holds what was announced of delivered messages: (trace id, what, by whom)."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.announcements: list[tuple[str, Announcement, str]] = []

    async def announced(self, announcements: Sequence[Announcement], *, by: str) -> int:
        known = [
            (trace_id, one, by)
            for one in announcements
            if (trace_id := self._state.traces.get((one.account_id, one.body_id)))
        ]
        self.announcements += known
        return len(known)
