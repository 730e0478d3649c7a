"""The internal calls: any store behind raw ASGI, for our own services only."""
