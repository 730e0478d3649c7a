"""How long to wait before trying again: growing, bounded, and spread so that pods don't knock at the same instant."""

import random

MAX_SECONDS = 5.0


def backoff(attempt: int, *, first: float = 0.1, maximum: float = MAX_SECONDS) -> float:
    """Seconds before try `attempt` (0, 1, …): `first` doubling up to `maximum`, of which up to half is jitter."""
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    return min(maximum, first * 2.0 ** min(attempt, 32)) * spread
