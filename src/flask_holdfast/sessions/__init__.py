"""Server-side sessions: the cookie, the record, the stores, and Flask's interface to them."""
