"""The tests that SQLAlchemy and Flask-SQLAlchemy ship, run on the pool of a baked project."""
