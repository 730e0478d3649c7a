"""The delivery worker's own metrics."""

from mailboat_common import metrics

attempts = metrics.counter("delivery_attempts_total", "Jobs worked on, by outcome", ("result",))
