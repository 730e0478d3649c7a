"""Mailboat's SMTP reception and submission."""
