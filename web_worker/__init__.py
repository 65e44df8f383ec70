"""Speaks HTTP. Knows `ipc`; the only package that knows FastAPI."""
