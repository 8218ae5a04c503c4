"""Compare the pool with plain Flask-SQLAlchemy, by hand.

PYTHONPATH=tests:. python -m comparison [postgresql|mariadb|sqlite]...
    [-k PART] [--level LEVEL] [--every]
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

import servers

from .compare import Server, compare

KINDS = ["sqlite", "postgresql", "mariadb"]


def main() -> int:
    """Print every difference; give 1 if there is one."""
    parser = argparse.ArgumentParser(prog="comparison", description=__doc__)
    parser.add_argument("databases", nargs="*", help="all, if none is named")
    parser.add_argument("-k", dest="only", action="append", default=[], help="part of a name")
    parser.add_argument("--level", help="the isolation level that both engines ask for")
    parser.add_argument("--every", action="store_true", help="every script in every way")
    wanted = parser.parse_args()
    if not set(wanted.databases) <= set(KINDS):
        parser.error(f"databases: choose from {', '.join(KINDS)}")
    options = [word for part in wanted.only for word in ("--only", part)]
    options += ["--level", wanted.level] if wanted.level else []
    options += ["--every"] if wanted.every else []
    differing = 0
    for name in wanted.databases or KINDS:
        with contextlib.ExitStack() as stack:
            server: Server = None
            if name == "postgresql":
                server = stack.enter_context(servers.postgresql())
            elif name == "mariadb":
                server = stack.enter_context(servers.mariadb())
            started = time.monotonic()
            result = compare(server, *options)
            spent = time.monotonic() - started
            print(f"== {name}\n{result.table()} ({spent:.1f} s; {result.seconds})\n")
            differing += len(result.differences)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
