"""The service behind the PgBouncer whose configuration it ships, with servers that fail over."""
