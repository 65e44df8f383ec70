"""Adapters between a protocol and the ports; no node and no line of `ipc` knows them."""
