"""`make demo`: both example services, a client's session with them, and what an operator sees of it."""
