"""Side-by-side measurements of the baked service and of what is written instead of it."""
