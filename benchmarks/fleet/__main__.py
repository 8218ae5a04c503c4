"""The command: `python -m benchmarks.fleet`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from . import report

SEED = 1
MOST_SEED = 2**32


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        """End with the message alone."""
        self.exit(2, f"{self.prog}: {message}\n")


def main() -> None:
    """Play, print the tables, and draw the picture if asked."""
    parser = Parser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--seed", type=_seed, default=SEED, help=f"default: {SEED}")
    parser.add_argument("--out", type=_picture, metavar="FILE", help="draw into this SVG or PNG")
    asked = parser.parse_args()
    found = report.play(asked.seed)
    tables = report.block(found)
    sys.stdout.write(tables)
    if asked.out:
        try:
            from . import picture  # noqa: PLC0415  # the tables do without matplotlib

            picture.draw(found, tables, asked.out)
        except ImportError:
            parser.error("--out needs matplotlib")
        except OSError as error:
            parser.error(f"--out: {asked.out}: {error.strerror}")


def _seed(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < MOST_SEED:
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text[:100]!r} is not accepted; use a whole number from 0 to {MOST_SEED - 1}"
    )


def _picture(text: str) -> Path:
    file = Path(text)
    writable = os.access(file if file.exists() else file.parent, os.W_OK)
    if file.suffix in (".svg", ".png") and writable and not file.is_dir():
        return file
    raise argparse.ArgumentTypeError(
        f"{text[:100]!r} is not accepted; use a .svg or .png file that can be written"
    )


if __name__ == "__main__":
    main()
