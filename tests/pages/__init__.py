"""What people and Prometheus see of the pool: several gunicorn workers, PostgreSQL, Chromium."""
