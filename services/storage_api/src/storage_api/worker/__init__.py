"""The worker role: what must be done again and again, by any number of replicas at once."""
