"""The whole platform on one machine: real MongoDB, real RabbitMQ, every service, for tests and the demo."""
