"""Scripts that only SQLite understands."""

INSERT = "INSERT INTO item (id, name) VALUES (3, 'three')"
LOOK = "SELECT id, name, value FROM item ORDER BY id"
COUNT = "SELECT count(*) FROM item"

SCRIPTS: dict[str, tuple[str, ...]] = {
    "pragma_read": ("PRAGMA user_version", INSERT, LOOK),
    "pragma_write": ("PRAGMA user_version = 5", "PRAGMA user_version"),
    "pragma_of_the_connection": ("PRAGMA cache_size = 123", "PRAGMA cache_size"),
    "pragma_query_only": ("PRAGMA query_only = 1", INSERT, "PRAGMA query_only = 0", INSERT),
    "pragma_after_a_write": (INSERT, "PRAGMA user_version = 5", LOOK),
    "attach": ("ATTACH DATABASE ':memory:' AS extra", "CREATE TABLE extra.t (id INT)",
               "DETACH DATABASE extra"),
    "vacuum": ("VACUUM", INSERT),
    "vacuum_after_a_write": (INSERT, "VACUUM", LOOK),
    "vacuum_after_a_read": (LOOK, "VACUUM"),
    "begin_immediate": ("BEGIN IMMEDIATE", INSERT, LOOK),
    "begin_exclusive": ("BEGIN EXCLUSIVE", INSERT, LOOK),
    "end_by_hand": (INSERT, "END", LOOK),
    "on_conflict": (
        "INSERT INTO item (id, name) VALUES (1, 'one') ON CONFLICT DO NOTHING",
        "INSERT INTO item (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET value = 3",
        LOOK),
    "insert_or_rollback": (INSERT, "INSERT OR ROLLBACK INTO item (id, name) VALUES (1, 'one')",
                           "UPDATE item SET value = 5 WHERE id = 1", LOOK),
    "insert_or_fail": (INSERT, "INSERT OR FAIL INTO item (id, name) VALUES (9, 'one')", LOOK),
    "insert_or_ignore": ("INSERT OR IGNORE INTO item (id, name) VALUES (9, 'one')", INSERT, LOOK),
    "replace": ("REPLACE INTO item (id, name) VALUES (2, 'two')", LOOK),
    "drop_column": ("ALTER TABLE late ADD COLUMN extra INT", "ALTER TABLE late DROP COLUMN extra"),
    "create_as_select": ("CREATE TABLE made AS SELECT id FROM item", "SELECT count(*) FROM made"),
    "drop_after_a_write": (INSERT, "CREATE TABLE made (id INT)", "DROP TABLE made", LOOK),
    "temporary_seen_later": ("CREATE TEMP TABLE made_temp AS SELECT 1 AS a",
                             "SELECT * FROM temp.made_temp", "DROP TABLE temp.made_temp"),
    "cte_in_front_of_an_insert": (
        "WITH a AS (SELECT 3 AS id) INSERT INTO item (id, name) SELECT id, 'three' FROM a", LOOK),
    "cte_in_front_of_a_delete": (
        "WITH a AS (SELECT 1 AS id) DELETE FROM child WHERE id IN (SELECT id FROM a)",
        "SELECT count(*) FROM child"),
    "deferred_constraint": ("INSERT INTO late VALUES (1, 999)", "SELECT * FROM late"),
    "savepoint_then_ddl": ("SAVEPOINT a", "CREATE TABLE made (id INT)", "ROLLBACK TO a",
                           "RELEASE a", COUNT),
    "savepoint_left_open": ("SAVEPOINT a", INSERT),
    "reindex": ("REINDEX item", INSERT),
    "integer_overflow": ("SELECT abs(-9223372036854775808)", INSERT, LOOK),
}  # fmt: skip
