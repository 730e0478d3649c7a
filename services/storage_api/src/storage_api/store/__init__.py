"""The store: mailboxes as packed pages, bodies, and what keeps them whole. Its rules are in the modules' heads."""
