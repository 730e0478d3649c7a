"""The process's metrics: one registry, one prefix, closed label sets.

Rules: base units (seconds, bytes), `_total` on counters, and no label ever holds a user, address, domain, IP address or
message id. The metrics every service has are declared here; a service declares its own beside the code they measure.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

PREFIX = "mailboat_"
REGISTRY = CollectorRegistry()
_gauges: set[str] = set()
CONTENT_TYPE = CONTENT_TYPE_LATEST

# From a call inside the cluster (0.5 ms) to a fail-over that was waited for (30 s).
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BYTES = tuple(float(1024 * 4**power) for power in range(10))  # 1 KiB to 256 MiB


def counter(name: str, description: str, labels: Sequence[str] = ()) -> Counter:
    """A counter `mailboat_<name>`; the name ends in `_total`."""
    if not name.endswith("_total"):
        raise ValueError(f"the counter {name} doesn't end in _total")
    return Counter(PREFIX + name, description, tuple(labels), registry=REGISTRY)


class _Undescribed:
    """Collects a metric without claiming its name.

    The client library reserves `x` for a counter `x_total`, because OpenMetrics does; in the text format that we
    serve the gauge `connections` and the counter `connections_total` are two names.
    """

    def __init__(self, metric: Gauge) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return self._metric.collect()


def gauge(name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge `mailboat_<name>`."""
    if PREFIX + name in _gauges:
        raise ValueError(f"the gauge {name} exists already")
    created = Gauge(PREFIX + name, description, tuple(labels), registry=None)
    _gauges.add(PREFIX + name)
    REGISTRY.register(_Undescribed(created))
    return created


def histogram(
    name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS
) -> Histogram:
    """A histogram `mailboat_<name>`; buckets are in the metric's base unit (default: seconds)."""
    return Histogram(PREFIX + name, description, tuple(labels), buckets=tuple(buckets), registry=REGISTRY)


def exposition() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)


@contextmanager
def timed(observer: Histogram) -> Iterator[None]:
    """Observes the seconds the block took, also when it raises."""
    started = time.perf_counter()
    try:
        yield
    finally:
        observer.observe(time.perf_counter() - started)


disable_created_metrics()  # type: ignore[no-untyped-call]
ProcessCollector(registry=REGISTRY)

# Life
build_info = gauge("build_info", "1; the labels say what is running", ("service", "version"))
draining = gauge("draining", "1 while the process finishes its work after SIGTERM")
dependency_up = gauge("dependency_up", "1 while the dependency answers", ("dependency",))
tls_certificate_not_after = gauge(
    "tls_certificate_not_after_timestamp_seconds", "End of validity of a loaded certificate", ("certificate",)
)
tls_reload_failures = counter("tls_reload_failures_total", "New certificate pairs that did not load")
event_loop_lag = gauge("event_loop_lag_seconds", "How much later than asked the event loop ran, worst of 10 s")

# Edge
connections = gauge("connections", "Open client connections", ("protocol",))
connections_total = counter("connections_total", "Client connections accepted", ("protocol", "tls"))
connections_rejected = counter("connections_rejected_total", "Client connections refused", ("protocol", "reason"))
auth_attempts = counter("auth_attempts_total", "Authentications by outcome", ("protocol", "mechanism", "result"))
auth_duration = histogram("auth_duration_seconds", "Time to answer an authentication")
