"""A small service that computes: pictures, password hashes, and figures about a text."""
