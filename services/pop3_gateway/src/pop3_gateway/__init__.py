"""Mailboat's POP3 gateway."""
