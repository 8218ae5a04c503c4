"""The tables, functions and procedures that the views work on, in each database's own words."""

POSTGRESQL = (
    (
        "CREATE TABLE item (id BIGSERIAL PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE,"
        " value INT NOT NULL DEFAULT 0)"
    ),
    (
        "CREATE TABLE child (id BIGSERIAL PRIMARY KEY, item_id BIGINT NOT NULL REFERENCES item,"
        " name VARCHAR(50) NOT NULL)"
    ),
    (
        "CREATE TABLE late (id BIGINT PRIMARY KEY,"
        " item_id BIGINT REFERENCES item DEFERRABLE INITIALLY DEFERRED)"
    ),
    "CREATE TABLE note (id BIGSERIAL PRIMARY KEY, name VARCHAR(50) NOT NULL)",
    "CREATE TABLE secret (tenant INT, note TEXT)",
    "INSERT INTO secret VALUES (7, 'seven'), (8, 'eight')",
    "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
    (
        "CREATE POLICY own ON secret USING"
        " (tenant = nullif(current_setting('app.tenant', true), '')::int)"
    ),
    (
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tenant') THEN"
        " CREATE ROLE tenant; END IF; EXCEPTION WHEN OTHERS THEN NULL; END $$"
    ),
    "GRANT ALL ON secret TO tenant",
    "CREATE SEQUENCE numbers",
    (
        "CREATE FUNCTION add_item(text) RETURNS int LANGUAGE sql AS"
        " 'INSERT INTO item (name) VALUES ($1) RETURNING 1'"
    ),
    # what it is declared to be says nothing of what it does
    (
        "CREATE FUNCTION pretend(text) RETURNS int LANGUAGE plpgsql STABLE AS"
        " 'BEGIN PERFORM add_item($1); RETURN 1; END'"
    ),
    "CREATE PROCEDURE put_item(text) LANGUAGE sql AS 'INSERT INTO item (name) VALUES ($1)'",
    (
        "CREATE PROCEDURE put_and_commit(text) LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO item (name) VALUES ($1); COMMIT; END'"
    ),
    (
        "CREATE FUNCTION careful(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN"
        " INSERT INTO item (name) VALUES ($1); RETURN ''added'';"
        " EXCEPTION WHEN unique_violation THEN RETURN ''caught''; END'"
    ),
    "CREATE OPERATOR ### (FUNCTION = add_item, RIGHTARG = text)",
)

MARIADB = (
    (
        "CREATE TABLE item (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL UNIQUE,"
        " value INT NOT NULL DEFAULT 0) STATS_PERSISTENT = 0"
    ),
    (
        "CREATE TABLE child (id BIGINT PRIMARY KEY AUTO_INCREMENT, item_id BIGINT NOT NULL,"
        " name VARCHAR(50) NOT NULL, FOREIGN KEY (item_id) REFERENCES item (id))"
        " STATS_PERSISTENT = 0"
    ),
    "CREATE TABLE late (id BIGINT PRIMARY KEY, item_id BIGINT) STATS_PERSISTENT = 0",
    "CREATE TABLE note (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50) NOT NULL)",
    "CREATE SEQUENCE numbers NOCACHE",
    (
        "CREATE FUNCTION add_item(given VARCHAR(50)) RETURNS INT MODIFIES SQL DATA"
        " BEGIN INSERT INTO item (name) VALUES (given); RETURN 1; END"
    ),
    "CREATE PROCEDURE put_item(given VARCHAR(50)) INSERT INTO item (name) VALUES (given)",
    "CREATE PROCEDURE look() SELECT name FROM item ORDER BY id",
    (
        "CREATE PROCEDURE put_and_commit(given VARCHAR(50))"
        " BEGIN INSERT INTO item (name) VALUES (given); COMMIT; END"
    ),
    (
        "CREATE PROCEDURE begin_and_put(given VARCHAR(50))"
        " BEGIN START TRANSACTION; INSERT INTO item (name) VALUES (given); END"
    ),
)

SQLITE = (
    "PRAGMA journal_mode = WAL",
    (
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE,"
        " value INT NOT NULL DEFAULT 0)"
    ),
    (
        "CREATE TABLE child (id INTEGER PRIMARY KEY, item_id INT NOT NULL REFERENCES item,"
        " name VARCHAR(50) NOT NULL)"
    ),
    (
        "CREATE TABLE late (id INTEGER PRIMARY KEY,"
        " item_id INT REFERENCES item DEFERRABLE INITIALLY DEFERRED)"
    ),
    "CREATE TABLE note (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL)",
)
