"""From bytes to objects, within limits."""
