"""Moving mail in and out: sources of an import, its journal and its upload, and the export to Maildir."""
