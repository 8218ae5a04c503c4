"""The database: the extensions, and what all models have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_migrate import Migrate
from flask_pool import Pool
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

# every constraint has a name, so that a migration can change it
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of all models."""

    metadata = MetaData(naming_convention=NAMES)
    # whatever the server's default is, a name may hold any character
    __table_args__: Any = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}  # noqa: RUF012


db = SQLAlchemy(model_class=Base)
migrate = Migrate(db=db)
pool = Pool()

if TYPE_CHECKING:  # db.Model is made at run time, out of sight of type checkers
    Model = Base
else:
    Model = db.Model
