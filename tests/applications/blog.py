"""A blog with accounts: a factory, blueprints, a login in the session, templates in strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from flask import (
    Blueprint,
    Flask,
    abort,
    flash,
    g,
    get_flashed_messages,
    redirect,
    render_template_string,
    request,
    session,
    url_for,
)
from flask.testing import FlaskClient
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey, String, Text, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.test import TestResponse


class Base(DeclarativeBase):
    """The base of the models."""


db = SQLAlchemy(model_class=Base)
bp = Blueprint("blog", __name__)


class Author(db.Model):  # type: ignore[misc, name-defined]
    """Somebody who writes."""

    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(50), unique=True)
    password: Mapped[str] = mapped_column(String(200))


class Post(db.Model):  # type: ignore[misc, name-defined]
    """What was written."""

    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str] = mapped_column(String(100))
    body: Mapped[str] = mapped_column(Text)
    author: Mapped[Author] = relationship(lazy="joined")


def create_app(config: Mapping[str, Any], attach: Callable[[Flask, SQLAlchemy], object]) -> Flask:
    """Build the application; `attach` stands for `db.init_app`."""
    app = Flask(__name__)
    app.config.from_mapping(SECRET_KEY="dev")
    app.config.from_mapping(config)
    attach(app, db)
    app.register_blueprint(bp)
    app.add_url_rule("/", endpoint="index", view_func=index)
    with app.app_context():
        db.create_all()
    return app


@bp.before_app_request
def load_author() -> None:
    """Load who is logged in, before each view."""
    number = session.get("author_id")
    g.author = None if number is None else db.session.get(Author, number)


def login_required(view: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """Send others to the login."""

    @wraps(view)
    def wrapped(**arguments: Any) -> ResponseReturnValue:
        return view(**arguments) if g.author else redirect(url_for("blog.login"))

    return wrapped


@bp.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Make an account."""
    if request.method == "POST":
        word = generate_password_hash(request.form["password"], "scrypt:2:1:1")
        db.session.add(Author(username=request.form["username"], password=word))
        try:
            db.session.commit()
        except IntegrityError:
            db.session.rollback()
            flash(f"{request.form['username']} is already registered.")
        else:
            return redirect(url_for("blog.login"))
    return page("Register")


@bp.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Log in."""
    if request.method == "POST":
        name = request.form["username"]
        author = db.session.scalar(select(Author).filter_by(username=name))
        if author and check_password_hash(author.password, request.form["password"]):
            session["author_id"] = author.id
            return redirect(url_for("index"))
        flash("Incorrect username or password.")
    return page("Log In")


@bp.get("/logout")
def logout() -> ResponseReturnValue:
    """Log out."""
    session.clear()
    return redirect(url_for("index"))


def index() -> ResponseReturnValue:
    """Show all posts, the newest first."""
    posts = db.session.scalars(select(Post).order_by(Post.id.desc())).all()
    return page("Posts", posts=posts, number=db.session.scalar(select(func.count(Post.id))))


@bp.post("/create")
@login_required
def create() -> ResponseReturnValue:
    """Write a post."""
    if not request.form["title"]:
        flash("Title is required.")
        return page("New Post"), 400
    db.session.add(Post(author=g.author, title=request.form["title"], body=request.form["body"]))
    db.session.commit()
    return redirect(url_for("index"))


@bp.post("/<int:number>/update")
@login_required
def update(number: int) -> ResponseReturnValue:
    """Change a post of one's own."""
    post = own_post(number)
    post.title, post.body = request.form["title"], request.form["body"]
    db.session.commit()
    return redirect(url_for("index"))


@bp.post("/<int:number>/delete")
@login_required
def delete(number: int) -> ResponseReturnValue:
    """Delete a post of one's own."""
    db.session.delete(own_post(number))
    db.session.commit()
    return redirect(url_for("index"))


def own_post(number: int) -> Post:
    """Return a post of the one who is logged in."""
    post: Post = db.get_or_404(Post, number)
    if post.author != g.author:
        abort(403)
    return post


def page(title: str, **values: Any) -> str:
    """Render a page, with what was flashed."""
    return render_template_string(
        "<h1>{{ title }}</h1><p>{{ g.author.username if g.author }}</p>{{ flashed }} {{ number }}"
        "{% for post in posts %}<h2>{{ post.title }}</h2><p>by {{ post.author.username }}:"
        " {{ post.body }}</p>{% endfor %}",
        title=title,
        flashed=get_flashed_messages(),
        **values,
    )


def visit(client: FlaskClient) -> Iterator[TestResponse]:
    """Use the application as its users do."""
    ann, ben = ({"username": name, "password": name * 2} for name in ("ann", "ben"))
    first = {"title": "First", "body": "Hello <b>'%s'</b>"}
    yield client.get("/")
    yield client.post("/register", data=ann)
    yield client.post("/register", data=ann)
    yield client.get("/login")
    yield client.post("/register", data=ben)
    yield client.post("/create", data=first)
    yield client.post("/login", data=ann | {"password": "wrong"})
    yield client.post("/login", data=ann)
    yield client.post("/create", data=first)
    yield client.post("/create", data=first | {"title": ""})
    yield client.post("/create", data=first | {"title": "Second"})
    yield client.get("/")
    yield client.post("/1/update", data=first | {"body": "changed"})
    yield client.get("/logout")
    yield client.post("/login", data=ben)
    yield client.post("/1/delete")
    yield client.post("/9/delete")
    yield client.get("/logout")
    yield client.post("/login", data=ann)
    yield client.post("/2/delete")
    yield client.get("/")
