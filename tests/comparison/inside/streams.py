"""Views whose answer is read from the database while it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from common import PUT, SEE, names, put
from flask import Response, stream_with_context
from kit import REQUESTS, Side, rows, view
from sqlalchemy import select, text

WEB = {"ways": REQUESTS}


@view(**WEB)
def stream_of_names(side: Side) -> Response:
    """Stream what the session reads, with the request's context."""
    query = select(side.Item.name).order_by(side.Item.id).execution_options(yield_per=1)
    read = (f"{name}\n" for name in side.session.scalars(query))
    return Response(stream_with_context(read), content_type="text/plain")


@view(**WEB)
def stream_that_reads_late(side: Side) -> Response:
    """Begin to read when the stream begins, and write at its end."""

    def lines() -> Iterator[str]:
        for name in names(side):
            yield f"{name}\n"
        put(side, "at the end")
        side.session.commit()
        yield f"{side.session.scalar(SEE)}\n"

    return Response(stream_with_context(lines()), content_type="text/plain")


@view(**WEB)
def stream_of_its_own(side: Side) -> Response:
    """Stream from a connection that the generator closes."""
    connection = side.engine.connect().execution_options(stream_results=True, max_row_buffer=1)

    def lines() -> Iterator[str]:
        with connection:
            for row in connection.execute(text("SELECT name FROM item ORDER BY id")):
                yield f"{row.name}\n"

    return Response(lines(), content_type="text/plain")


@view(**WEB)
def stream_that_writes(side: Side) -> Response:
    """Write and commit on the generator's own connection, after the view."""
    connection = side.engine.connect()

    def lines() -> Iterator[str]:
        with closing(connection):
            yield "begin\n"
            connection.execute(PUT, {"id": 3, "name": "streamed"})
            connection.commit()
            connection.execute(PUT, {"id": 4, "name": "lost"})
            yield f"{rows(connection.execute(SEE))}\n"

    return Response(lines(), content_type="text/plain")


@view(**WEB)
def stream_that_is_large(side: Side) -> Response:
    """Stream more than fits a buffer from a connection of its own."""
    connection = side.engine.connect().execution_options(yield_per=50)
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
        " SELECT i FROM n"
    )

    def lines() -> Iterator[str]:
        with connection:
            yield from (f"{row.i}," for row in connection.execute(text(numbers)))

    return Response(lines(), content_type="text/plain")
