"""Scripts that only MariaDB understands."""

INSERT = "INSERT INTO item (id, name) VALUES (3, 'three')"
LOOK = "SELECT id, name, value FROM item ORDER BY id"
COUNT = "SELECT count(*) FROM item"
UPDATE_OUTSIDE = "outside: UPDATE item SET value = 99 WHERE id = 1"
NAMED = "concat(database(), '.a')"
TRY_LOCK = f"outside: SELECT is_used_lock({NAMED}) IS NULL"

SCRIPTS: dict[str, tuple[str, ...]] = {
    # named locks and variables, which outlive a transaction
    "get_lock": (f"SELECT get_lock({NAMED}, 0)", TRY_LOCK, f"SELECT release_lock({NAMED})",
                 TRY_LOCK),
    "get_lock_kept": (f"SELECT get_lock({NAMED}, 0)", TRY_LOCK),
    "user_variable": ("SET @mark = 5", "SELECT @mark"),
    "user_variable_in_a_read": ("SELECT @mark := 6", "SELECT @mark"),
    "select_into_variable": ("SELECT name INTO @mark FROM item WHERE id = 1", "SELECT @mark"),
    "last_insert_id": ("INSERT INTO item (name) VALUES ('new')", "SELECT last_insert_id() >= 10",
                       LOOK),
    "last_insert_id_set": ("SELECT last_insert_id(77)", "SELECT last_insert_id()"),
    # the transaction itself
    "start_transaction": ("START TRANSACTION", INSERT, LOOK),
    "start_transaction_after_a_write": (INSERT, "START TRANSACTION", LOOK),
    "start_read_only": ("START TRANSACTION READ ONLY", INSERT, COUNT),
    "start_with_snapshot": ("START TRANSACTION WITH CONSISTENT SNAPSHOT", UPDATE_OUTSIDE, LOOK),
    "set_transaction_read_only": ("SET TRANSACTION READ ONLY", INSERT, COUNT),
    "set_transaction_level": ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", COUNT,
                              UPDATE_OUTSIDE, LOOK),
    "set_session_level": ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                          "SELECT @@tx_isolation"),
    "set_session_read_only": ("SET SESSION TRANSACTION READ ONLY", INSERT, COUNT),
    "set_autocommit_off": ("SET autocommit = 0", INSERT, LOOK),
    "set_autocommit_on": ("SET autocommit = 1", INSERT, LOOK),
    "set_autocommit_after_a_write": (INSERT, "SET autocommit = 1", LOOK),
    "set_statement": (f"SET STATEMENT max_statement_time = 1 FOR {INSERT}", LOOK),
    "sql_mode": ("SET SESSION sql_mode = ''", "SELECT @@sql_mode"),
    "foreign_keys_off": (
        "SET foreign_key_checks = 0", "INSERT INTO child (id, item_id, name) VALUES (9, 99, 'o')",
        "SET foreign_key_checks = 1"),
    "commit_and_chain": (INSERT, "COMMIT AND CHAIN", "UPDATE item SET value = 5 WHERE id = 3",
                         LOOK),
    "rollback_and_chain": (INSERT, "ROLLBACK AND CHAIN", INSERT, LOOK),
    "xa": ("XA START '$MARK'", INSERT, "XA END '$MARK'", "XA ROLLBACK '$MARK'", LOOK),
    "xa_one_phase": ("XA START '$MARK'", INSERT, "XA END '$MARK'", "XA COMMIT '$MARK' ONE PHASE",
                     LOOK),
    # locks
    "for_update": ("SELECT id FROM item FOR UPDATE", UPDATE_OUTSIDE, LOOK),
    "share_mode": ("SELECT id FROM item LOCK IN SHARE MODE", UPDATE_OUTSIDE, LOOK),
    "lock_tables": ("LOCK TABLES item WRITE", "outside: SELECT count(*) FROM item", INSERT,
                    "UNLOCK TABLES", LOOK),
    "write_then_lock_tables": (INSERT, "LOCK TABLES item READ", "UNLOCK TABLES", LOOK),
    "flush_tables": (INSERT, "FLUSH TABLES", LOOK),
    # what commits without a word
    "implicit_commit_of_create": (INSERT, "CREATE TABLE made (id INT)", "ROLLBACK", LOOK),
    "implicit_commit_of_truncate": (INSERT, "TRUNCATE TABLE late", "ROLLBACK", LOOK),
    "implicit_commit_refused": (INSERT, "CREATE TABLE item (id INT)", "ROLLBACK", LOOK),
    "implicit_commit_of_index": (INSERT, "ALTER TABLE item COMMENT = 'x'",
                                 "UPDATE item SET value = 4 WHERE id = 3", "ROLLBACK", LOOK),
    "write_after_an_implicit_commit": (
        "CREATE TABLE made (id INT)", INSERT, "ROLLBACK", LOOK),
    "temporary_commits_nothing": (INSERT, "CREATE TEMPORARY TABLE made_temp (id INT)", "ROLLBACK",
                                  LOOK),
    # functions and procedures
    "function_that_writes": ("SELECT add_item('made by a function')", LOOK),
    "function_refused": ("SELECT add_item('one')", INSERT, LOOK),
    "do": ("DO add_item('made by do')", LOOK),
    "call": ("CALL put_item('made by a procedure')", LOOK),
    "call_that_reads": ("CALL look()", INSERT),
    "call_that_commits": ("CALL put_and_commit('made by a procedure')", INSERT, LOOK),
    "call_that_begins": ("CALL begin_and_put('made by a procedure')", INSERT, LOOK),
    "execute_immediate": ("EXECUTE IMMEDIATE 'INSERT INTO item (id, name) VALUES (3, ''three'')'",
                          LOOK),
    "prepared": ("PREPARE adding FROM 'INSERT INTO item (id, name) VALUES (3, ''three'')'",
                 "EXECUTE adding", "DEALLOCATE PREPARE adding", LOOK),
    "block": ("BEGIN NOT ATOMIC INSERT INTO item (id, name) VALUES (3, 'three'); END", LOOK),
    "nextval": ("SELECT nextval(numbers)", "SELECT NEXT VALUE FOR numbers"),
    "sleep_then_write": ("SELECT sleep(0.01)", INSERT),
    # statements that look like reads, or like none
    "comment_that_is_code": (f"/*! {INSERT} */", LOOK),
    "comment_that_is_code_of_mariadb": ("SELECT 1 /*M! FROM item FOR UPDATE */", UPDATE_OUTSIDE,
                                        LOOK),
    "analyze_statement": ("ANALYZE UPDATE item SET value = 66 WHERE id = 1", LOOK),
    "explain_update": ("EXPLAIN UPDATE item SET value = 66 WHERE id = 1", LOOK),
    "handler": ("HANDLER item OPEN", "HANDLER item READ FIRST", "HANDLER item CLOSE"),
    "replace": ("REPLACE INTO item (id, name, value) VALUES (2, 'two', 21)", LOOK),
    "on_duplicate_key": (
        "INSERT INTO item (id, name) VALUES (1, 'one') ON DUPLICATE KEY UPDATE value = 31", LOOK),
    "update_of_two_tables": (
        "UPDATE item, child SET item.value = 2, child.name = 'x' WHERE item.id = child.item_id",
        LOOK),
    # errors
    "error_keeps_the_transaction": (INSERT, "SELECT nothing FROM item", "ROLLBACK", LOOK),
    "signal": ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'", INSERT),
    "signal_of_a_deadlock": (
        INSERT, "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'not a real one'",
        LOOK),
    "statement_timeout": ("SET STATEMENT max_statement_time = 0.03 FOR SELECT sleep(1)", INSERT,
                          LOOK),
    "too_long": ("INSERT INTO item (id, name) VALUES (3, repeat('x', 60))", INSERT),
}  # fmt: skip
