"""Reads that need no transaction: one round trip, and once more if the connection died.

A transaction is the rule. The exception is a statement that is proven to only read, in a safe
request, in a session that nobody told to begin. psycopg's `autocommit` is switched on for it, which
sends nothing, and switched off before anything else is sent. The session's event marks the
statement; the dialect's event judges it and switches; the session's event switches back.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

from flask import current_app
from sqlalchemy.engine import Connection, Result
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, SessionTransactionOrigin
from sqlalchemy.schema import DefaultGenerator

from .connections import SET_READ_ONLY
from .requests import current
from .sql import may_set_isolation, only_reads
from .uses import Use, put_back, use_of

READ = "flask_pool_read"  # the execution option, and that the session sends a read
USES = "flask_pool.uses"  # the session's connections, each with its use
UNSEEN = "flask_pool.unseen"  # the session has had a connection that is not watched
LEVEL = "flask_pool.default_isolation"  # of transactions that ask for none
# what a statement fails with that stayed prepared: "cached plan must not change result type", it
# was deallocated by hand, "cache lookup failed for type"
STALE_PLAN = {"0A000", "26000", "XX000"}


# by what the execution option says: a number, as applications log, copy and serialise options
_sent: dict[int | None, Read] = {}
_numbers = count()


class Read:
    """One statement that may be sent without a transaction."""

    harmless = False  # its text and its connection: a replica could do the same
    proven = False
    use: Use | None = None
    cursor: Any = None
    switched = False  # psycopg's autocommit was on for it


# the session


def read(state: ORMExecuteState) -> Result[Any] | None:
    """Send a session's statement as a read, if it may be one; listens to `do_orm_execute`."""
    request = current()
    if request is None or not request.safe or not _may_read(state):
        return None
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    pools = app.extensions.get("flask_pool")
    if pools is None:  # an application that shares `db` and is without a pool
        return None
    if pools.replicas is not None:
        found: Result[Any] = pools.replicas.read(state, request)
        return found
    return send(state, Read())


def send(state: ORMExecuteState, first: Read) -> Result[Any]:
    """Send the statement; once more if its connection died and nothing else can be missed."""
    try:
        return invoke(state, first)
    except DBAPIError as error:
        if not first.proven or first.use is None:
            raise
        if error.connection_invalidated:
            if not _nothing_is_lost(state.session, first.use):
                raise
            state.session.rollback()
            for observer in current_app.extensions["flask_pool"].observers:
                observer.retried()
        elif not _needs_fresh_plan(error, first):
            raise
    return invoke(state, Read())


def invoke(state: ORMExecuteState, mark: Read, bind: Any = None) -> Result[Any]:
    """Send the statement as a read, once."""
    state.session.info[READ] = True
    number = next(_numbers)
    _sent[number] = mark
    try:
        return state.invoke_statement(
            execution_options={READ: number}, bind_arguments={"bind": bind} if bind else None
        )
    finally:
        del _sent[number]
        state.session.info.pop(READ, None)
        if mark.use is not None and mark.use.switched is not None:
            put_back(mark.use)


def _may_read(state: ORMExecuteState) -> bool:
    session, statement = state.session, state.statement
    if statement.is_dml or session.twophase:
        return False
    if isinstance(statement, DefaultGenerator):  # a Sequence, whose result is a number
        return False
    transaction = session.get_transaction()
    return transaction is None or (
        transaction.origin is SessionTransactionOrigin.AUTOBEGIN
        and not session.in_nested_transaction()
    )


def _nothing_is_lost(session: Session, died: Use) -> bool:
    """Tell whether a rollback takes nothing away but what can be read again."""
    uses = [use for _, use in session.info.get(USES, ())]
    return (
        UNSEEN not in session.info
        and not any(use.other or use.claimed for use in (*uses, died))
        and not (session.new or session.dirty or session.deleted)
        and not session.in_nested_transaction()
    )


def _needs_fresh_plan(error: DBAPIError, failed: Read) -> bool:
    """Have the transaction failed, as after any error; tell whether another try is due.

    A ROLLBACK has psycopg forget its prepared statements, as it does on the plain application
    after each request.
    """
    code = getattr(error.orig, "sqlstate", None)
    if failed.use is None or not failed.switched or code is None:
        return False  # another driver's sqlstate means something else; None: nobody was asked
    failed.use.note_other()
    connection = failed.cursor.connection
    with suppress(Exception), connection.cursor() as cursor:
        cursor.execute("ROLLBACK TO SAVEPOINT failed_read", prepare=False)  # which is not there
    if code not in STALE_PLAN:
        return False
    connection.rollback()
    return True


def note_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    """Note which connections a session uses; listens to `after_begin`."""
    use = use_of(connection)
    if use is None:  # of a bind that is left as it is
        session.info[UNSEEN] = True
        return
    use.began = True
    if READ not in session.info:
        use.claimed = True
    uses = session.info.get(USES)
    before = [pair for pair in uses if not pair[0].closed] if uses else []
    session.info[USES] = [*before, (connection, use)]


# the statement


def before_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
    """Switch the connection if the statement is proven to only read; listens to `do_execute`."""
    connection: Connection = context.root_connection
    use = use_of(connection)
    if use is None:
        return
    use.start()
    if use.switched is not None:  # a listener of the application's sends something meanwhile
        put_back(use)
    mark = _sent.get(context.execution_options.get(READ))
    if mark is None or context.compiled is None or not only_reads(statement):
        _note_other(use, connection, cursor, statement)
        return
    if mark.use is not None and mark.use is not use and mark.use.switched is not None:
        put_back(mark.use)  # one statement, several connections: a sharded session's
    mark.use, mark.cursor = use, cursor
    if context.dialect.driver == "psycopg":
        if not _may_switch(connection, cursor, context):
            use.note_other()
            return
        use.reads += 1
        mark.harmless = mark.proven = True  # switching fails only if the connection has died
        use.switched = cursor.connection  # noted first: an interruption must not leave it unnoted
        use.switched.autocommit = mark.switched = True
        return
    mark.harmless = True
    if use.reads or use.other:  # its transaction has begun
        use.other = True  # the request goes on reading where it does
        return
    use.reads += 1
    mark.proven = True


def before_other(cursor: Any, statement: str, *rest: Any) -> None:
    """Note that more than proven reads is sent; listens to the other events of this kind."""
    connection: Connection = rest[-1].root_connection  # of the context, after any parameters
    use = use_of(connection)
    if use is not None:
        use.start()
        if use.switched is not None:
            put_back(use)
        _note_other(use, connection, cursor, statement)


def _note_other(use: Use, connection: Connection, cursor: Any, statement: str) -> None:
    sets = may_set_isolation(statement)
    if sets and use.reads and connection.dialect.driver == "psycopg":
        with cursor.connection.cursor() as own:
            own.execute("SELECT 1")  # a level comes too late then, as after any read
    use.note_other()
    if sets:
        connection.info.pop(LEVEL, None)
        if "read_only" in statement.lower():
            connection.info[SET_READ_ONLY] = True


def _may_switch(connection: Connection, cursor: Any, context: Any) -> bool:
    """Tell whether a psycopg connection would read the same without a transaction."""
    psycopg: Any = context.dialect.loaded_dbapi
    if type(cursor) is not psycopg.Cursor:  # the server's, a tracer's or the application's
        return False
    pgconn = cursor.connection.pgconn
    return (
        pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        and not cursor.connection.autocommit
        and pgconn.pipeline_status == psycopg.pq.PipelineStatus.OFF
        and "isolation_level" not in context.execution_options
        and len(context.dialect.dispatch.do_execute) == 1  # a listener may change the text
        # an application's, which expects what a ROLLBACK leaves
        and len(connection.engine.pool.dispatch.reset) == 1
        and _is_read_committed(connection, cursor.connection, psycopg)
    )


def _is_read_committed(connection: Connection, driver: Any, psycopg: Any) -> bool:
    level = driver.isolation_level
    if level is not None:
        return bool(level <= psycopg.IsolationLevel.READ_COMMITTED)
    default: str | None = connection.info.get(LEVEL)
    if default is None:
        # below the driver's cursors, so that no tracer of the application's sees it
        answer = driver.pgconn.exec_(b"SHOW default_transaction_isolation").get_value(0, 0)
        if answer is None:  # if the connection has died, so will the statement: nothing is lost
            return bool(driver.pgconn.status != psycopg.pq.ConnStatus.OK)
        default = connection.info[LEVEL] = answer.decode()
    return default.startswith("read ")
