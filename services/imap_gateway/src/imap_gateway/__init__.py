"""Mailboat's IMAP gateway."""
