"""What is measured, one file for each kind; the keys are the words that `--only` takes."""

from __future__ import annotations

NAMES = {
    "users": "GET /users by 8 clients: the main comparison",
    "routes": "GET /users/<id> and POST /users by 8 clients",
    "clients": "GET /users by 1 to 128 clients",
    "rows": "GET /users with 10 to 1,000 rows",
    "counts": "round trips and connections per request",
    "latency": "with 1 and 5 ms of network each way",
    "workers": "1, 2 and 4 workers",
    "pgbouncer": "1,000 connections through PgBouncer",
    "mariadb": "GET and POST /users on MariaDB",
    "startup": "time and imports of create_app and of `flask --help`",
    "bake": "bake time against cookiecutter's floor",
    "first": "from nothing to the first answered request",
}
