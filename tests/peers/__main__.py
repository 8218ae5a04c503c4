"""Run a suite by hand, on a package that lies in a folder: `python -m peers --help`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from . import sources, suites

SUITES = {
    "pool": ("sqlalchemy", suites.pool_tests),
    "extension": ("flask-sqlalchemy", suites.extension_tests),
    "plain": ("flask-sqlalchemy", suites.plain_tests),
}


def main() -> int:
    """Unpack, bend and run; what is not known here goes to pytest."""
    parser = argparse.ArgumentParser(prog="python -m peers", description=main.__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("package", help="the package that is tested")
    parser.add_argument("--path", type=Path, default=Path(), help="the folder that it lies in")
    parser.add_argument("--python", default=sys.executable, help="with SQLAlchemy and pytest")
    parser.add_argument("--archives", type=Path, help="keep the downloaded sources there")
    options, arguments = parser.parse_known_args()
    distribution, bend = SUITES[options.suite]
    with tempfile.TemporaryDirectory() as folder:
        archives = (options.archives or Path(folder)).resolve()
        source = sources.unpack(options.python, distribution, archives, Path(folder))
        return subprocess.run(
            suites.command(options.python, [*bend(source, options.package), *arguments]),
            cwd=source,
            env=suites.environment(options.package, str(options.path.resolve())),
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
