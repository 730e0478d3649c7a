"""The operators' command line, on Mailboat's REST API."""
