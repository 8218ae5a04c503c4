"""The tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from .db import Model

NAME_LENGTH = 50
LARGEST_ID = 2**63 - 1
# SQLite numbers the rows of an INTEGER primary key only, which has 64 bits there
Id = BigInteger().with_variant(Integer, "sqlite")


class User(Model):
    """A person in the directory."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))

    def as_dict(self) -> dict[str, Any]:
        """Return what clients see."""
        return {"id": self.id, "name": self.name}
