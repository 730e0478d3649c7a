"""The DNS records of our domains: what to publish, and what the resolver says is published."""
