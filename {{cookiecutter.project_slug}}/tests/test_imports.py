"""The import rule: the service uses the pool by its face, and the pool knows nothing of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import {{cookiecutter.project_slug}} as service
from {{cookiecutter.project_slug}} import pool

NAME = service.__name__
ROOT = Path(str(service.__file__)).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("*.py")}
CORE = [name for name in FILES if name.startswith("pool/") and not name.startswith("pool/ops/")]
OPS = [name for name in FILES if name.startswith("pool/ops/")]
SERVICE = [name for name in FILES if not name.startswith("pool/")]


def imports(name: str) -> Iterator[str]:
    """Yield the full name of everything that a file of the package imports from it."""
    package = [NAME, *Path(name).parent.parts]
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            found = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        else:
            continue
        yield from (full for full in found if full.partition(".")[0] == NAME)


@pytest.mark.parametrize("name", SERVICE)
def test_the_service_uses_only_the_names_on_the_pools_face(name: str) -> None:
    used = {full for full in imports(name) if full.startswith(f"{NAME}.pool")}

    assert used <= {f"{NAME}.pool.{public}" for public in pool.__all__}


@pytest.mark.parametrize("name", CORE + OPS)
def test_the_pool_knows_nothing_of_the_service(name: str) -> None:
    assert all(full.startswith(f"{NAME}.pool.") for full in imports(name))


@pytest.mark.parametrize("name", CORE)
def test_only_the_extension_names_what_operators_use(name: str) -> None:
    uses = any(full.startswith(f"{NAME}.pool.ops") for full in imports(name))

    assert uses <= (name == "pool/extension.py")
