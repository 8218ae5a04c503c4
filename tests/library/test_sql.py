"""Which statements are known to only read."""

from __future__ import annotations

import pytest
from flask_pool.sql import LONGEST, _only_reads, only_reads

HARMLESS = [
    "SELECT 1",
    "SELECT i.id, i.name FROM items i WHERE i.id > %(after)s::BIGINT LIMIT %(n)s::INTEGER",
    'SELECT "user".name AS "user_name" FROM "user" WHERE "user".id IN (__[POSTCOMPILE_id_1])',
    "SELECT count(*) AS n, max(t.x) FROM t LEFT OUTER JOIN s ON s.id = t.s_id GROUP BY s.id",
    "(SELECT a FROM t) UNION ALL (SELECT b FROM s) ORDER BY 1",
    "WITH c AS (SELECT a FROM t WHERE a = ?) SELECT c.a FROM c WHERE EXISTS (SELECT 1 FROM s)",
    "SELECT name || ' (' || lower(town) || ')' FROM share WHERE share.name LIKE :x",
    "SELECT t.share, t.data ->> 'key', CAST(t.x AS VARCHAR(50)) FROM t WHERE (t.x %% 2) = 1",
    "SELECT row_number() OVER (PARTITION BY t.a ORDER BY t.b DESC) FROM `t` OFFSET %s",
]
DOUBTS = [
    "SELECT nextval('s')",
    "SELECT set_config('a.b', '1', true)",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT add_user('x')",
    "SELECT public.lower('x')",
    "SELECT \"lower\"('x')",
    "SELECT now(), current_timestamp",
    "SELECT CURRENT_DATE",
    "SELECT LOCALTIME",
    "SELECT a FROM t FOR UPDATE",
    "SELECT a FROM t FOR\n/* no */ SHARE",
    "SELECT a FROM t LOCK IN SHARE MODE",
    "SELECT 1 ORDER BY add_user('x')",
    "  insert into t values (1)",
    "SET NAMES utf8mb4",
    "EXPLAIN SELECT 1",
    "SELECT a INTO b FROM t",
    "SELECT a FROM t; DROP TABLE t",
    "SELECT 1 -- a comment",
    "SELECT /* a comment */ 1",
    "SELECT a @@ b FROM t",
    "SELECT a FROM t WHERE a OPERATOR(public.=) b",
    "SELECT @a := 1",
    "SELECT 'it\\'s', sleep(1)",
    "SELECT E'\\x41'",
    "SELECT $$text$$",
    "SELECT 'a'::my_type",
    "SELECT NEXT VALUE FOR s",
    "SELECT s.nextval",
    "SELECT GET_LOCK('a', 1)",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM dblink_exec('drop table t')",
    "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
    "WITH c AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT 1 FROM c",
    "VALUES (1)",
    "TABLE t",
    "SHOW x",
    "PRAGMA user_version = 5",
    "INSERT INTO t VALUES (1)",
    "SELECT é FROM t",
    "SELECT 1" + " + 1" * 5000,
    "",
]


@pytest.mark.parametrize("statement", HARMLESS)
def test_a_plain_read_is_known(statement: str) -> None:
    assert only_reads(statement)


@pytest.mark.parametrize("statement", DOUBTS)
def test_every_doubt_is_no_plain_read(statement: str) -> None:
    assert not only_reads(statement)


def test_reading_a_statement_takes_no_longer_than_its_length_says() -> None:
    for begin in ("SELECT '", 'SELECT "', "SELECT 1", "((((", "SELECT ((((", "SELECT a." * 500):
        only_reads(begin * 1000)
        only_reads((begin * 10_000)[:LONGEST])


def test_what_is_known_of_statements_is_bounded() -> None:
    for number in range(2000):
        only_reads(f"SELECT {number}")

    assert _only_reads.cache_info().currsize <= 1000
