"""Sans-IO wire protocols: IMAP, POP3, SMTP, SASL."""
