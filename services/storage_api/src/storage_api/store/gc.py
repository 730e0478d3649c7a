"""Garbage collection: what nobody refers to any more goes, and nothing else ever does (store.md, rule 10).

`Collector.collect(now)` does a bounded amount of every kind of work and says whether more is waiting. Any number of
workers may run it at once, be killed anywhere in it, and race with every kind of new reference: each deletion is
conditional on what was read when it was judged, and each step can be repeated.

- `gc_bodies`: accounts with removals; unreferenced bodies are marked, a day later looked at again and deleted.
- `gc_blobs`: heads no body names, then their chunks; chunks no head names.
- `gc_prune`: tombstones past their time, pages of deleted mailboxes, mailboxes of deleted accounts.

Collection `gc`: `_id` account id, a, due (ms: sweep the account then), noted (ms: its last removal we know of);
`_id` "removals", "blobs", "chunks": how far the rounds have come. Receipts in `dedupe` expire by their TTL index.
"""

from __future__ import annotations

from ..db.driver import Database
from . import gc_blobs, gc_bodies, gc_prune
from .gc_report import GcReport, Limits, Retention

__all__ = ["Collector", "GcReport", "Limits", "Retention"]


class Collector:
    """The collector of one database. `collect` is called by the worker about every minute, at once again on `more`."""

    def __init__(self, db: Database, retention: Retention | None = None, limits: Limits | None = None) -> None:
        self._db = db
        self._retention = retention or Retention()
        self._limits = limits or Limits()

    async def collect(self, now: int) -> GcReport:
        """One bounded round at `now` (ms since the epoch). Driver errors pass through; the next round goes on."""
        report = GcReport()
        for step in (
            gc_prune.delete_accounts,
            gc_prune.delete_mailboxes,
            gc_prune.prune_vanished,
            gc_bodies.note_removals,
            gc_bodies.sweep_due,
            gc_blobs.collect_heads,
            gc_blobs.collect_orphans,
        ):
            report = report + await step(self._db, self._retention, self._limits, now)
        return report
