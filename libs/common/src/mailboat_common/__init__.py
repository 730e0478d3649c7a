"""What every Mailboat service shares: settings, logs, metrics, health, TLS, lifecycle, listeners, the message bus."""
