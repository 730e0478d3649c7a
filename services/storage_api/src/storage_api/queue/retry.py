"""When a deferred message is tried again, and when it is given up (RFC 5321 4.5.4.1).

Pure: times are ms since the epoch, randomness comes as an argument. Rules:

- Waits double from `first_ms` to `longest_ms`. Jitter only lengthens a wait, by up to a quarter: messages that met the
  same outage don't come back together, and a server that wants five minutes of patience (greylisting) gets them.
- An attempt falls shortly after the moment at which the sender is told of the delay, so that the notice is neither
  hours late nor says what an attempt just then would have disproved.
- A message is tried once more at the end of its life before it is given up; a wait is never shorter than `first_ms`.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
JITTER = 0.25


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """The platform's schedule. `delay_notice_ms` 0: nobody is told of a delay. ValueError for a senseless one."""

    first_ms: int = 5 * MINUTE_MS
    longest_ms: int = 4 * HOUR_MS
    lifetime_ms: int = 5 * 24 * HOUR_MS
    delay_notice_ms: int = 4 * HOUR_MS

    def __post_init__(self) -> None:
        if not 0 < self.first_ms <= self.longest_ms <= self.lifetime_ms:
            raise ValueError("the first wait, the longest wait and the lifetime must be above 0 and ascend")
        if not 0 <= self.delay_notice_ms < self.lifetime_ms:
            raise ValueError("the delay notice must come before the message is given up")

    def expires_at(self, queued_at: int) -> int:
        """When a message that was queued then is given up."""
        return queued_at + self.lifetime_ms

    def delay_notice_at(self, queued_at: int) -> int | None:
        """From when on a deferral is told to the sender; None: never."""
        return queued_at + self.delay_notice_ms if self.delay_notice_ms else None

    def next_attempt(self, attempt: int, *, queued_at: int, expires_at: int, now: int, jitter: float) -> int | None:
        """When to try again after attempt number `attempt` (from 1) was deferred at `now`; None: give up.

        `jitter` is in [0, 1). `expires_at` is the message's own, as fixed when it was queued.
        """
        last_start = expires_at - self.first_ms
        if now > last_start:
            return None
        wait = min(self.longest_ms, self.first_ms << min(attempt - 1, 32))
        soon = now + self.first_ms
        at = now + int(wait * (1 + JITTER * jitter))
        notice = self.delay_notice_at(queued_at)
        if notice is not None and now < notice < at:
            at = min(at, max(soon, notice + int(self.first_ms * jitter)))
        return at if at <= expires_at else max(soon, expires_at)
