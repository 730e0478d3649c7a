"""The store's ports, their HTTP implementation and an in-memory fake."""
