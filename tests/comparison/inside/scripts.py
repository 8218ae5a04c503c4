"""Scripts of statements that work on more than one database, and those of each database."""

from __future__ import annotations

import scripts_mariadb
import scripts_postgresql
import scripts_sqlite
from kit import MARIADB, POSTGRESQL, SQLITE

Scripts = dict[str, tuple[str, ...]]

LOOK = ("SELECT id, name, value FROM item ORDER BY id",)
INSERT = "INSERT INTO item (id, name) VALUES (3, 'three')"
RIVAL = "outside: INSERT INTO item (id, name) VALUES (4, 'rival')"
CHANGE = "outside: UPDATE item SET value = 99 WHERE id = 1"

COMMON: Scripts = {
    "read": LOOK,
    "read_twice_with_a_rival": (*LOOK, CHANGE, *LOOK),
    "insert": (INSERT, *LOOK),
    "insert_seen_outside": (INSERT, "outside: SELECT count(*) FROM item", *LOOK),
    "read_then_insert": (*LOOK, INSERT, *LOOK),
    "insert_after_a_comment": (f"/* SELECT */ {INSERT}", f"-- SELECT\n{INSERT}", *LOOK),
    "read_after_a_comment": ("/* INSERT */ SELECT name FROM item ORDER BY id", INSERT),
    "words_that_write_in_a_literal": ("SELECT 'INSERT INTO; DELETE; FOR UPDATE'", INSERT),
    "two_statements": (f"SELECT 1; {INSERT}", *LOOK),
    "duplicate_and_on": ("INSERT INTO item (id, name) VALUES (9, 'one')", INSERT, *LOOK),
    "missing_column_and_on": ("SELECT nothing FROM item", INSERT, *LOOK),
    "syntax_error_and_on": ("SELEC 1", INSERT, *LOOK),
    "foreign_key_and_on": (
        "INSERT INTO child (id, item_id, name) VALUES (9, 999, 'orphan')", INSERT, *LOOK),
    "commit_by_hand": (INSERT, "COMMIT", "UPDATE item SET value = 5 WHERE id = 3", *LOOK),
    "rollback_by_hand": (INSERT, "ROLLBACK", "UPDATE item SET value = 5 WHERE id = 1", *LOOK),
    "rollback_before_anything": ("ROLLBACK", INSERT, *LOOK),
    "begin_by_hand": ("BEGIN", INSERT, *LOOK),
    "savepoint_rolled_back": (
        INSERT, "SAVEPOINT a", "UPDATE item SET value = 5 WHERE id = 1", "ROLLBACK TO SAVEPOINT a",
        *LOOK),
    "savepoint_first": (
        "SAVEPOINT a", INSERT, "ROLLBACK TO SAVEPOINT a", "RELEASE SAVEPOINT a", *LOOK),
    "savepoint_released": ("SAVEPOINT a", INSERT, "RELEASE SAVEPOINT a", *LOOK),
    "delete_all": ("DELETE FROM child", "DELETE FROM item", *LOOK),
    "insert_from_select": (("INSERT INTO item (id, name) SELECT id + 10, 'x' || id FROM child"
                           " WHERE id = 1"), *LOOK),
    "create_table": ("CREATE TABLE made (id INT)", "INSERT INTO made VALUES (1)",
                     "SELECT * FROM made"),
    "insert_then_create_table": (INSERT, "CREATE TABLE made (id INT)", *LOOK),
    "temporary_table": ("CREATE TEMPORARY TABLE made_temp (id INT)",
                        "INSERT INTO made_temp VALUES (1)", "SELECT * FROM made_temp"),
    "cte_read": ("WITH a AS (SELECT name FROM item) SELECT * FROM a ORDER BY 1", INSERT),
    "rival_takes_the_key": (*LOOK, "outside: INSERT INTO item (id, name) VALUES (3, 'rival')",
                            INSERT, *LOOK),
    "rival_updates_after_a_read": (*LOOK, CHANGE, "UPDATE item SET value = value + 1 WHERE id = 1",
                                   *LOOK),
    "rival_deletes_between": (*LOOK, "outside: DELETE FROM item WHERE id = 2", *LOOK),
    "rival_waits_for_a_write": ("UPDATE item SET value = 1 WHERE id = 1", CHANGE, *LOOK),
}  # fmt: skip


def of(family: str) -> Scripts:
    """Give all scripts for a kind of database."""
    own = {
        POSTGRESQL: scripts_postgresql.SCRIPTS,
        MARIADB: scripts_mariadb.SCRIPTS,
        SQLITE: scripts_sqlite.SCRIPTS,
    }
    return COMMON | own[family]
