"""What the collectors share: how long things are kept, how much is done at a time, and what was done."""

from __future__ import annotations

from dataclasses import dataclass, fields

HOUR = 3_600_000
DAY = 24 * HOUR

RESTORABLE = 14 * DAY
"""How long what was removed can be brought back; undelete never reaches further, since the bodies may be gone."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, in ms.

    `restorable`: removed messages, deleted mailboxes and deleted accounts can be brought back that long.
    `grace`: an unreferenced body or blob rests that long before it goes, longer than any transaction or prepared body.
    `vanished`: tombstones; clients that stayed away longer are told every missing UID (RFC 7162 3.2.10).
    `resweep`: an account is looked at at most that often while only tombstones are waiting.
    """

    restorable: int = RESTORABLE
    grace: int = DAY
    vanished: int = 90 * DAY
    resweep: int = 6 * HOUR


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one round: accounts swept, blob heads judged, chunk ids looked at, documents pruned of each kind."""

    accounts: int = 20
    heads: int = 500
    chunks: int = 5_000
    documents: int = 2_000


@dataclass(frozen=True, slots=True)
class GcReport:
    """Counts of one round; `more` when a bound was reached and work is known to be left."""

    accounts_swept: int = 0
    bodies_marked: int = 0
    bodies_revived: int = 0
    bodies_deleted: int = 0
    blobs_deleted: int = 0
    chunks_deleted: int = 0
    tombstones_pruned: int = 0
    pages_deleted: int = 0
    mailboxes_deleted: int = 0
    accounts_emptied: int = 0
    more: bool = False

    def __add__(self, other: GcReport) -> GcReport:
        counts = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "more"}
        return GcReport(**counts, more=self.more or other.more)
