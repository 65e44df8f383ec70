"""What can be said: frozen Structs, one file per conversation (calls, lifeline, control)."""
