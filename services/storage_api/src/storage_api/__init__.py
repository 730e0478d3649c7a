"""Mailboat's storage authority: REST, internal calls and the worker role."""
