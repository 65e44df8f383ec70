"""Decisions about calls under way. Pure: no loop, no socket, no clock; time and chance are arguments."""
