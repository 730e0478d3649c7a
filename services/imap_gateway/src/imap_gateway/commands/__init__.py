"""The IMAP commands: one short file each, registered on import. See `registry`."""
