"""The Trace port on MongoDB: whom gateways told of a message, as steps of its trace.

A gateway knows a message by its body's id, and a delivered message's body names its trace (`deliver.py`): one read by
primary key finds up to a thousand. What has no trace (APPEND, a body stored before there was the field) is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailboat_store_client.types import Announcement

from ..db import schema
from ..db.driver import Database
from .failures import guarded
from .hooks import Hooks, TraceEvent

MAX_BY = 200


class MongoTrace:
    """The Trace port, for one database."""

    def __init__(self, db: Database, hooks: Hooks | None = None) -> None:
        self._bodies = db[schema.BODIES]
        self._hooks = hooks or Hooks()

    @guarded
    async def announced(self, announcements: Sequence[Announcement], *, by: str) -> int:
        """See `mailboat_store_client.ports.Trace`."""
        ids = sorted({one.body_id for one in announcements})
        found = await self._bodies.find({"_id": {"$in": ids}, "t": {"$exists": True}}, ["a", "t"]) if ids else []
        traces = {(bytes(body["a"]), bytes(body["_id"])): body["t"] for body in found}
        events = [
            TraceEvent(
                trace_id,
                one.at,
                "announced",
                one.account_id,
                one.mailbox_id,
                one.uid,
                {"sessions": one.sessions, "by": by[:MAX_BY]},
            )
            for one in announcements
            if (trace_id := traces.get((one.account_id, one.body_id)))
        ]
        if events:
            self._hooks.on_trace(events)
        return len(events)
