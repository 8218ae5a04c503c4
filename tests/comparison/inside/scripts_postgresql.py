"""Scripts that only PostgreSQL understands."""

INSERT = "INSERT INTO item (id, name) VALUES (3, 'three')"
LOOK = "SELECT id, name, value FROM item ORDER BY id"
COUNT = "SELECT count(*) FROM item"
TENANT = "SELECT current_setting('app.tenant', true)"
LEVEL = "SELECT current_setting('transaction_isolation')"
ANALYZE = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF)"
TRY_LOCK = "outside: SELECT pg_try_advisory_xact_lock(1)"

SCRIPTS: dict[str, tuple[str, ...]] = {
    # settings
    "set_config_local": ("SELECT set_config('app.tenant', '7', true)", TENANT),
    "set_config_session": ("SELECT set_config('app.tenant', '7', false)", TENANT),
    "set_config_hidden": ("SELECT name, set_config('app.tenant', name, true) FROM item", TENANT),
    "set_local": ("SET LOCAL app.tenant = '7'", TENANT),
    "set_session": ("SET SESSION app.tenant = '7'", TENANT),
    "set_and_reset": ("SET app.tenant = '7'", "RESET app.tenant", TENANT),
    "discard_all": ("DISCARD ALL", INSERT),
    "set_role": ("SET LOCAL ROLE tenant", "SELECT current_user", "SELECT count(*) FROM secret"),
    "set_role_session": ("SET ROLE tenant", "SELECT current_user"),
    "set_search_path": ("SET search_path = pg_catalog", "SELECT current_schema", COUNT),
    "row_level_security": (
        "SELECT set_config('app.tenant', '7', true)", "SET LOCAL ROLE tenant",
        "SELECT note FROM secret"),
    "row_level_security_by_role": (
        "SELECT set_config('app.tenant', '8', true), set_config('role', 'tenant', true)",
        "SELECT note FROM secret"),
    "statement_timeout": ("SET LOCAL statement_timeout = 30", "SELECT pg_sleep(1)", INSERT, LOOK),
    # the transaction itself
    "read_only": ("SET TRANSACTION READ ONLY", INSERT, COUNT),
    "read_only_after_a_read": (COUNT, "SET TRANSACTION READ ONLY", INSERT),
    "read_only_session": ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", INSERT),
    "read_only_by_config": ("SELECT set_config('transaction_read_only', 'on', true)", INSERT),
    "repeatable_read": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", COUNT,
        "outside: INSERT INTO item (id, name) VALUES (4, 'rival')", COUNT, LEVEL),
    "level_after_a_read": (COUNT, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", LEVEL),
    "level_by_config": (
        "SELECT set_config('transaction_isolation', 'repeatable read', true)", LEVEL),
    "serialization_failure": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", COUNT,
        "outside: UPDATE item SET value = 99 WHERE id = 1",
        "UPDATE item SET value = 1 WHERE id = 1", INSERT, LOOK),
    "now_twice": (
        "CREATE TEMP TABLE made_now ON COMMIT DROP AS SELECT now() AS at",
        "SELECT pg_sleep(0.002)", "SELECT at = now() FROM made_now"),
    "now_without_a_write": (
        "SELECT set_config('app.mark', now()::text, false) IS NULL", "SELECT pg_sleep(0.002)",
        "SELECT current_setting('app.mark', true) = now()::text"),
    "txid_twice": (
        "SELECT set_config('app.mark', txid_current()::text, false) IS NULL",
        "SELECT current_setting('app.mark', true) = txid_current()::text"),
    "is_in_a_transaction": (
        "SELECT now() = statement_timestamp()", "SELECT now() = statement_timestamp()"),
    "export_snapshot": ("SELECT pg_export_snapshot() IS NULL", COUNT),
    "start_transaction": ("START TRANSACTION ISOLATION LEVEL REPEATABLE READ", LEVEL, INSERT),
    "end_by_hand": (INSERT, "END", "UPDATE item SET value = 5 WHERE id = 3", LOOK),
    "abort_by_hand": (INSERT, "ABORT", LOOK),
    "prepare_transaction": (INSERT, "PREPARE TRANSACTION 'a'", LOOK),
    "deferred_constraint": ("INSERT INTO late VALUES (1, 999)", "SELECT * FROM late"),
    "constraint_at_once": ("SET CONSTRAINTS ALL IMMEDIATE", "INSERT INTO late VALUES (1, 999)"),
    "constraint_made_up_for": (
        "INSERT INTO late VALUES (1, 3)", INSERT, "SELECT * FROM late"),
    # locks
    "advisory_lock": ("SELECT pg_advisory_xact_lock(1)", TRY_LOCK, COUNT, TRY_LOCK),
    "advisory_lock_of_the_session": (
        "SELECT pg_advisory_lock(1)", TRY_LOCK, "SELECT pg_advisory_unlock(1)", TRY_LOCK),
    "advisory_lock_kept": ("SELECT pg_advisory_lock(1)", TRY_LOCK),
    "for_update": (
        "SELECT id FROM item FOR UPDATE", "outside: UPDATE item SET value = 99 WHERE id = 1",
        LOOK),
    "for_update_in_a_cte": (
        "WITH a AS (SELECT id FROM item FOR UPDATE NOWAIT) SELECT count(*) FROM a",
        "outside: UPDATE item SET value = 99 WHERE id = 1", LOOK),
    "lock_table": (
        "LOCK TABLE item IN SHARE MODE", "outside: UPDATE item SET value = 99 WHERE id = 1", LOOK),
    # functions
    "function_that_writes": ("SELECT add_item('made by a function')", LOOK),
    "function_that_pretends": ("SELECT pretend('made by a function')", LOOK),
    "function_in_quotes": ("SELECT \"add_item\"('made by a function')", LOOK),
    "function_caught_inside": ("SELECT careful('one')", "SELECT careful('new')", LOOK),
    "function_refused": ("SELECT add_item('one')", INSERT, LOOK),
    "operator_that_writes": ("SELECT ### 'made by an operator'", LOOK),
    "nextval": ("SELECT nextval('numbers')", "SELECT nextval('numbers')"),
    "setval": ("SELECT setval('numbers', 50)", "SELECT lastval()"),
    "notify": ("SELECT pg_notify('channel', 'word')", COUNT),
    "listen": ("LISTEN channel", "SELECT pg_notify('channel', 'word')"),
    "large_object": ("SELECT lo_from_bytea(0, 'abc') > 0", COUNT),
    "call": ("CALL put_item('made by a procedure')", LOOK),
    "call_that_commits": ("CALL put_and_commit('made by a procedure')", LOOK),
    "do": ("DO 'BEGIN PERFORM add_item(''made by a block''); END'", LOOK),
    # statements that look like reads
    "cte_that_writes": (
        "WITH a AS (INSERT INTO item (id, name) VALUES (3, 'three') RETURNING id) SELECT * FROM a",
        LOOK),
    "cte_that_deletes": (
        "WITH a AS (SELECT 1), b AS (DELETE FROM child RETURNING id) SELECT id FROM b ORDER BY 1",
        "SELECT count(*) FROM child"),
    "explain_analyze_insert": (f"{ANALYZE} {INSERT}",
                               LOOK),
    "explain_analyze_create": (f"{ANALYZE} CREATE TABLE made AS SELECT 1 AS a", COUNT),
    "select_into": ("SELECT id INTO made FROM item", "SELECT count(*) FROM made"),
    "select_into_temporary": ("SELECT id INTO TEMP made_temp FROM item",
                              "SELECT count(*) FROM made_temp"),
    "temporary_on_commit_drop": (
        "CREATE TEMP TABLE made_temp (id INT) ON COMMIT DROP", "INSERT INTO made_temp VALUES (1)",
        "SELECT * FROM made_temp"),
    "execute_prepared": (
        "PREPARE adding AS INSERT INTO item (id, name) VALUES (3, 'three')", "EXECUTE adding",
        LOOK, "DEALLOCATE adding"),
    "cursor": (
        "DECLARE c CURSOR FOR SELECT name FROM item ORDER BY id", "FETCH 1 FROM c",
        "FETCH 1 FROM c", "CLOSE c"),
    "cursor_after_a_read": (COUNT, "DECLARE c CURSOR FOR SELECT name FROM item ORDER BY id",
                            "FETCH ALL FROM c"),
    "cursor_with_hold": (
        "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM item ORDER BY id", "FETCH 1 FROM c"),
    "vacuum": ("VACUUM child", INSERT),
    "truncate": ("TRUNCATE child", "SELECT count(*) FROM child"),
    "merge": (
        ("MERGE INTO item USING (SELECT 1 AS id) AS s ON item.id = s.id"
        " WHEN MATCHED THEN UPDATE SET value = 77"), LOOK),
    "insert_on_conflict": (
        "INSERT INTO item (id, name) VALUES (1, 'one') ON CONFLICT DO NOTHING",
        "INSERT INTO item (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET value = 3",
        LOOK),
    # errors of statements that only read
    "division_by_zero": ("SELECT 1 / 0", COUNT, INSERT, LOOK),
    "error_after_a_read": (COUNT, "SELECT nothing FROM item", COUNT, INSERT),
    "error_then_rollback_by_hand": ("SELECT 1 / 0", "ROLLBACK", COUNT, INSERT),
    "error_in_a_savepoint": (
        "SAVEPOINT a", "SELECT 1 / 0", "ROLLBACK TO SAVEPOINT a", COUNT, INSERT),
    "error_then_savepoint": ("SELECT 1 / 0", "SAVEPOINT a", COUNT),
    "raise_in_a_block": ("DO 'BEGIN RAISE EXCEPTION ''no''; END'", COUNT),
    "lock_not_available": (
        "SET LOCAL lock_timeout = 30", "outside: SELECT 1", "SELECT id FROM item FOR UPDATE NOWAIT",
        LOOK),
}  # fmt: skip
