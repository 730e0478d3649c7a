"""IMAP on the wire: framing, grammar, responses. See `framing` for how a connection uses it."""
