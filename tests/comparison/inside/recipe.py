"""The views that may do on SQLite what SQLAlchemy's recipe does and pysqlite does not, and why."""

from __future__ import annotations

REAL = "transactions are real: BEGIN is sent for whatever comes first, so DDL and PRAGMA roll back"
INSIDE = "transactions are real: what SQLite refuses inside a transaction is refused"
SAVEPOINTS = "savepoints are real, and none of them commits"
CHECKED = "foreign keys are checked"
RIVAL = "a transaction sees one state, and one that may write holds the file from its beginning"

SCRIPTS = {
    "create_table": REAL,
    "create_as_select": REAL,
    "insert_then_create_table": REAL,
    "drop_after_a_write": REAL,
    "temporary_table": REAL,
    "temporary_seen_later": REAL,
    "drop_column": REAL,
    "create_index": REAL,
    "pragma_write": REAL,
    "pragma_write_as_a_call": REAL,
    "cte_in_front_of_an_insert": REAL,
    "cte_in_front_of_a_delete": REAL,
    "rollback_before_anything": REAL,
    "rollback_by_hand": REAL,
    "attach": INSIDE,
    "vacuum": INSIDE,
    "vacuum_after_a_read": INSIDE,
    "begin_by_hand": INSIDE,
    "begin_immediate": INSIDE,
    "begin_exclusive": INSIDE,
    "savepoint_rolled_back": SAVEPOINTS,
    "savepoint_first": SAVEPOINTS,
    "savepoint_released": SAVEPOINTS,
    "savepoint_then_ddl": SAVEPOINTS,
    "savepoint_left_open": SAVEPOINTS,
    "foreign_key_and_on": CHECKED,
    "deferred_constraint": CHECKED,
}
VIEWS = {
    "on_sqlite/ddl_rolls_back": REAL,
    "on_sqlite/savepoint_holds": SAVEPOINTS,
    "sessions/nested_first": SAVEPOINTS,
    "sessions/nested_released_then_rolled_back": SAVEPOINTS,
    "levels/session_on_a_connection": SAVEPOINTS,
}
# where somebody else writes between two statements of a view
RIVALS = {
    "read_twice_with_a_rival", "rival_takes_the_key", "rival_updates_after_a_read",
    "rival_deletes_between", "bulk/rival_between_two_reads", "bulk/write_after_a_stale_read",
    "bulk/query_with_a_lock", "connections/two_connections", "contexts/nested_context_forgets",
    "expressions/literal_column", "loading/lazy_load_after_a_rival", "orm/refresh_after_a_rival",
    "orm/refresh_with_a_lock", "orm/get_with_a_lock", "orm/select_with_a_lock",
    "on_sqlite/readers_lock_nobody",
}  # fmt: skip


def reason(name: str) -> str:
    """Give the reason that allows it; nothing is allowed where AUTOCOMMIT was asked for."""
    script, _, channel = name.partition("@")
    script = script.removeprefix("sqlite/")
    if channel == "autocommit":
        return ""
    if script in RIVALS:
        return RIVAL
    return VIEWS.get(name, "") or (SCRIPTS.get(script, "") if channel else "")
