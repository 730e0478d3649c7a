"""What an operator decides about mail out; the defaults are those of the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from .retry import HOUR_MS, RetrySchedule

DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """`hostname` is the platform's name in notices. `suppression_ms` is how long an address that a server called
    unknown gets no mail; 0: it isn't remembered.
    """

    hostname: str = "localhost"
    schedule: RetrySchedule = field(default_factory=RetrySchedule)
    suppression_ms: int = 90 * DAY_MS
