"""How it is said. Pure: bytes and the time in, events and bytes out; no socket, clock, thread or randomness."""
