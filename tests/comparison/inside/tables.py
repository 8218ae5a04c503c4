"""The models of the views, defined once for each application."""

from __future__ import annotations

from types import SimpleNamespace

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship


def define(db: SQLAlchemy) -> SimpleNamespace:
    """Define the models of one application."""

    class Item(db.Model):
        """What most views work on."""

        __tablename__ = "item"

        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50), unique=True)
        value: Mapped[int] = mapped_column(default=0)
        children = relationship(
            "Child", back_populates="item", cascade="all, delete-orphan", order_by="Child.id"
        )

    class Child(db.Model):
        """What belongs to an item."""

        __tablename__ = "child"

        id: Mapped[int] = mapped_column(primary_key=True)
        item_id: Mapped[int] = mapped_column(ForeignKey("item.id"))
        name: Mapped[str] = mapped_column(String(50))
        item = relationship("Item", back_populates="children")

    class Note(db.Model):
        """What lies in the second bind."""

        __tablename__ = "note"
        __bind_key__ = "other"

        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(50))

    return SimpleNamespace(Item=Item, Child=Child, Note=Note)
