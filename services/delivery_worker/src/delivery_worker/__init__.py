"""Mailboat's outbound delivery worker."""
