"""For people at a terminal: a file a command."""
