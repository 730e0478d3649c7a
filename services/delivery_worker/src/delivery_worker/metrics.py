"""The delivery worker's own metrics."""

from mailboat_common import metrics

attempts = metrics.counter("delivery_attempts_total", "Jobs worked on, by outcome", ("result",))
recipients = metrics.counter("delivery_recipients_total", "Recipients of attempts, by outcome", ("outcome",))
duration = metrics.histogram(
    "delivery_attempt_duration_seconds",
    "Time an attempt took, by phase",
    ("phase",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0),
)
connections = metrics.counter("delivery_connections_total", "Connections wanted, by what came of it", ("result",))
open_connections = metrics.gauge("delivery_connections", "Open connections to other servers", ("state",))
open_busy = open_connections.labels("busy")
open_idle = open_connections.labels("idle")
waiting = metrics.gauge("delivery_jobs_waiting", "Jobs taken from RabbitMQ that wait for their destination")
in_flight = metrics.gauge("delivery_content_bytes", "Octets of messages in memory")
policies = metrics.counter("delivery_mta_sts_fetches_total", "MTA-STS policies fetched, by outcome", ("result",))
