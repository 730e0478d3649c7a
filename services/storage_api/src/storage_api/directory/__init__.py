"""Who is who: domains, accounts, addresses, credentials, and who may log in."""
