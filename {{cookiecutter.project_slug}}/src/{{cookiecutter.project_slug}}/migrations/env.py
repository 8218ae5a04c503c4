"""How `flask db` reaches the databases: one deployment at a time, see `flask_pool.migrations`."""

from flask_pool import migrations

migrations.run()
