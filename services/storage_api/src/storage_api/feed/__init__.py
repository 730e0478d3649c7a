"""Events for other systems on their way out: the stream, RabbitMQ, webhooks."""
