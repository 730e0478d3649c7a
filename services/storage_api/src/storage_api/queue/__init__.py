"""Mail out, the storage authority's side: when a message is tried again, and what its sender is told of it."""
