"""A shop whose orders and audit lie in two databases, with Core and raw SQL beside the ORM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Flask, Response, jsonify, request, stream_with_context
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import CheckConstraint, String, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.test import TestResponse


class Base(DeclarativeBase):
    """The base of the models."""


db = SQLAlchemy(model_class=Base)


class Item(db.Model):  # type: ignore[misc, name-defined]
    """What can be bought."""

    __tablename__ = "item"
    __table_args__ = (CheckConstraint("stock >= 0"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    stock: Mapped[int]


class Entry(db.Model):  # type: ignore[misc, name-defined]
    """A line of the audit, in a database of its own."""

    __tablename__ = "entry"
    __bind_key__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[str] = mapped_column(String(100))


def create_app(config: Mapping[str, Any], attach: Callable[[Flask, SQLAlchemy], object]) -> Flask:
    """Build the application; `attach` stands for `db.init_app`."""
    app = Flask(__name__)
    app.config.from_mapping(config)
    attach(app, db)
    app.add_url_rule("/items", view_func=items)
    app.add_url_rule("/items.csv", view_func=as_csv)
    app.add_url_rule("/items", view_func=add, methods=["POST"])
    app.add_url_rule("/items/<int:number>/buy", view_func=buy, methods=["POST"])
    app.add_url_rule("/audit", view_func=audit)
    app.cli.command("restock")(restock)
    with app.app_context():
        db.create_all()
    return app


def items() -> ResponseReturnValue:
    """All items, and what the database itself counts."""
    found = db.session.execute(select(Item.name, Item.stock).order_by(Item.id)).all()
    counted = db.session.scalar(text("SELECT COUNT(*) FROM item"))
    return jsonify(items=[list(each) for each in found], counted=counted)


def as_csv() -> ResponseReturnValue:
    """All items, as they come from the database."""

    def lines() -> Iterator[str]:
        with db.engine.connect() as connection:
            for row in connection.execute(select(Item.id, Item.name).order_by(Item.id)):
                yield f"{row.id},{row.name}\n"

    return Response(stream_with_context(lines()), mimetype="text/csv")


def add() -> ResponseReturnValue:
    """Add an item, and a line to the audit in the same session."""
    item = Item(name=request.form["name"], stock=int(request.form["stock"]))
    db.session.add_all([item, Entry(line=f"added {item.name}")])
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        return "no", 409
    return str(item.id), 201


def buy(number: int) -> ResponseReturnValue:
    """Take one out of stock; the audit keeps the attempt by a transaction of its own."""
    with db.engines["audit"].begin() as connection:
        connection.execute(insert(Entry).values(line=f"asked for {number}"))
    try:
        with db.session.begin_nested():
            sold = db.session.execute(
                update(Item).where(Item.id == number).values(stock=Item.stock - 1)
            )
    except IntegrityError:
        return f"none left of {db.session.get_one(Item, number).name}", 409
    db.session.commit()
    return ("", 204) if sold.rowcount else ("unknown", 404)  # type: ignore[attr-defined]


def audit() -> ResponseReturnValue:
    """All lines of the audit."""
    number = db.session.scalar(select(func.count(Entry.id)))
    return jsonify(list(db.session.scalars(select(Entry.line).order_by(Entry.id))), number)


def restock() -> None:
    """Fill up what ran out, in one transaction for each item."""
    for item in db.session.scalars(select(Item).where(Item.stock == 0)).all():
        item.stock = 10
        db.session.commit()


def visit(client: FlaskClient) -> Iterator[TestResponse]:
    """Use the shop as its customers do."""
    yield client.get("/items")
    for name, stock in (("cup", 2), ("plate", 0), ("fork's %", -1)):
        yield client.post("/items", data={"name": name, "stock": stock})
    for number in (1, 1, 1, 2, 9):
        yield client.post(f"/items/{number}/buy")
    yield client.get("/items")
    yield client.get("/items.csv")
    result = client.application.test_cli_runner().invoke(args=["restock"])
    assert result.exit_code == 0, result.output
    yield client.get("/items")
    yield client.get("/audit")
