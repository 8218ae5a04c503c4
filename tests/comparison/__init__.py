"""The same views on plain Flask-SQLAlchemy and in a baked project: every difference, in a table."""
