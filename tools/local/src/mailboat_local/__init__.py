"""The whole platform on one machine, for development, tests and the demo."""
