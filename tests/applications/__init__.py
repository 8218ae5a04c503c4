"""A small application that knows nothing of this repository."""
