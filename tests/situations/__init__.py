"""What people do with Flask-SQLAlchemy, on the plain application and on the same with the pool."""
