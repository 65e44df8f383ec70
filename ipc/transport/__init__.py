"""How frames travel. Knows bytes and ends, neither calls nor keys."""
