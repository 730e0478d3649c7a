"""The store's own metrics."""

from __future__ import annotations

from mailboat_common import metrics

batch_size = metrics.histogram(
    "storage_commit_batch_size", "Mutations in one transaction", buckets=(1, 2, 4, 8, 16, 32, 64)
)
conflicts = metrics.counter("storage_commit_conflicts_total", "Transactions refused because of another one")
commit_seconds = metrics.histogram("storage_commit_duration_seconds", "From first read to commit of one transaction")
killed_transactions = metrics.counter(
    "storage_killed_transactions_total", "Transactions left behind by dead processes and ended by us"
)
