"""Offset-based MIME scanner and the IMAP renderings of a message."""
