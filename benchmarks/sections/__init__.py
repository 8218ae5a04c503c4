"""What is measured, one file for each kind; the keys are the words that `--only` takes."""

from __future__ import annotations

NAMES = {
    "view": "the same view on every kind of engine, 1 and 2 workers",
    "sample": "GET and POST /users, against views by hand on psycopg_pool",
    "latency": "both with 1 and 5 ms each way to the database, and one client at 1 ms",
    "threads": "the same view with 2, 4, 5 and 8 threads, at each latency",
    "counts": "round trips and connections per request",
    "mariadb": "the same view and POST /users on MariaDB, and round trips",
    "project": "time of a bake and of the project's own tests, lines of code",
}
