"""Runs nodes. Knows `ipc`; what a user's code imports from here is light."""
