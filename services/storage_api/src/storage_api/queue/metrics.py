"""The outbound queue's metrics."""

from __future__ import annotations

from collections.abc import Iterable

from mailboat_common import metrics

messages = metrics.gauge(
    "queue_messages", "Documents of the outbound queue (message and destination domain)", ("state",)
)
oldest = metrics.gauge("queue_oldest_age_seconds", "Age of the oldest message that waits in the outbound queue")
time_in_queue = metrics.histogram(
    "delivery_time_in_queue_seconds",
    "Time from a message's acceptance to the remote server's 250, for each recipient",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 5 * 24 * 3600),
)
published = metrics.counter("queue_jobs_published_total", "Jobs given to RabbitMQ, by result", ("result",))
lapsed = metrics.counter("queue_claims_lapsed_total", "Claims that were taken back because their lease had ended")
bounces = metrics.counter(
    "bounces_total", "Recipients elsewhere that failed for good, by what the status code is about", ("class",)
)
notices = metrics.counter(
    "delivery_notices_total", "Notices to senders, by kind; untold: nobody could be told", ("kind",)
)


def count(bounced: Iterable[str], told: Iterable[str]) -> None:
    """Count the classes of failures and the kinds of notices."""
    for name in bounced:
        bounces.labels(name).inc()
    for name in told:
        notices.labels(name).inc()
