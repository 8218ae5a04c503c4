"""A connection that dies before a read of a GET: the view does not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask_sqlalchemy.pagination import Pagination
from sqlalchemy import func, select, text
from sqlalchemy.orm import selectinload

from .applications import POOL, Application
from .databases import Database, on

# the plain application answers 500 here
pytestmark = pytest.mark.parametrize("side", [POOL], indirect=True)


def page(app: Application) -> Pagination:
    """Give a page of items, which takes two reads."""
    return app.db.paginate(select(app.Item).order_by(app.Item.id), per_page=1)


class Work:
    """Reads of an application, after one of its items was loaded."""

    def __init__(self, app: Application, one: Any = None) -> None:
        self.app, self.one = app, one
        self.session, self.Item, self.Child = app.session, app.Item, app.Child

    def by_name(self) -> Any:
        """Select an item by its name."""
        return select(self.Item).filter_by(name="two")

    def selectin(self) -> Any:
        """Load items and their children in two reads."""
        query = select(self.Item).options(selectinload(self.Item.children)).order_by(self.Item.id)
        return [len(item.children) for item in self.session.scalars(query)]

    def join(self) -> Any:
        """Select through a join."""
        query = select(self.Child.name).join(self.Item, self.Item.id == self.Child.item_id)
        return self.session.scalar(query.order_by(self.Child.id).limit(1))

    def union(self) -> Any:
        """Select from two tables."""
        return sorted(self.session.scalars(select(self.Item.name).union(select(self.Child.name))))

    def run(self, statement: str, **parameters: Any) -> list[Any]:
        """Run a text."""
        return list(self.session.execute(text(statement), parameters).scalars())


READS: dict[str, tuple[Callable[[Work], Any], Any]] = {
    "scalars": (lambda w: w.session.scalars(select(w.Item.name).order_by(w.Item.id)).all(),
                ["one", "two"]),
    "scalar": (lambda w: w.session.scalar(select(func.max(w.Item.value))), 20),
    "count": (lambda w: w.session.scalar(select(func.count()).select_from(w.Item)), 2),
    "core": (lambda w: w.run("SELECT name FROM item ORDER BY id"), ["one", "two"]),
    "core_table": (lambda w: w.session.execute(select(w.Item.__table__.c.id)).scalars().all(),
                   [1, 2]),
    "parameters": (lambda w: w.run("SELECT name FROM item WHERE id = :id", id=2), ["two"]),
    "get": (lambda w: w.session.get(w.Item, 2).name, "two"),
    "get_or_404": (lambda w: w.app.db.get_or_404(w.Item, 2).name, "two"),
    "one_or_404": (lambda w: w.app.db.one_or_404(w.by_name()).id, 2),
    "refresh": (lambda w: w.session.refresh(w.one) or w.one.value, 10),
    "expired": (lambda w: w.session.expire(w.one) or w.one.value, 10),
    "lazy": (lambda w: [child.name for child in w.one.children], ["kid", "brat"]),
    "selectin": (Work.selectin, [2, 0]),
    "query": (lambda w: w.session.query(w.Item).filter_by(name="two").one().id, 2),
    "query_count": (lambda w: w.session.query(w.Item).count(), 2),
    "paginate": (lambda w: page(w.app).total, 2),
    "join": (Work.join, "kid"),
    "exists": (lambda w: bool(w.session.scalar(select(select(w.Item).exists()))), True),
    "union": (Work.union, ["brat", "kid", "one", "two"]),
}  # fmt: skip


@on("postgresql")
@pytest.mark.parametrize("name", READS)
def test_killed_before_a_read(app: Application, database: Database, name: str) -> None:
    """The answer is the undisturbed one, and what was loaded before stays usable."""
    read, expected = READS[name]

    def view(*, kill: bool) -> Any:
        one, two = app.session.scalars(select(app.Item).order_by(app.Item.id))
        if kill:
            assert database.kill() == 1
        found = read(Work(app, one))
        return [found, one.name, one.value, two.name, one in app.session, len(one.children)]

    undisturbed = app.json(lambda: view(kill=False))
    assert undisturbed == [expected, "one", 10, "two", True, 2]
    assert app.json(lambda: view(kill=True)) == undisturbed
