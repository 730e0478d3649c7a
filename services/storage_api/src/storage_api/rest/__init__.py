"""The REST API `/v1`: what operators and other systems ask for. Its description is served at `/v1/openapi.json`."""
