"""The SMTP ingress's own metrics (the edge's common ones are in mailboat_common.metrics)."""

from mailboat_common import metrics

messages = metrics.counter("smtp_messages_total", "Messages after DATA or BDAT LAST", ("listener", "result"))
duration = metrics.histogram(
    "smtp_transaction_duration_seconds",
    "Time to receive (DATA to the end) and to deliver",
    ("phase",),
)
size = metrics.histogram("smtp_message_size_bytes", "Size of accepted messages", buckets=metrics.BYTES)
