"""Keeps processes alive. Knows `ipc` and the specifications of processes; imports no web code and no user code."""
