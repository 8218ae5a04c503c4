"""A network that is `MS` milliseconds away: `python latency.py HOST PORT MS`, until stdin ends.

A process of its own, so that it takes none of the time of the one that is measured. What a client
sends is held back for a whole round trip, and so is its connect; answers pass at once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast


@contextmanager
def far_away(host: str, port: int, milliseconds: float) -> Iterator[int]:
    """Put the server that far away; yield the local port that leads there."""
    command = [sys.executable, "-I", __file__, host, str(port), str(milliseconds)]
    pipe = subprocess.PIPE
    # in a group of its own, as Ctrl-C is for its parent
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, process_group=0) as process:
        try:
            yield int(cast(IO[bytes], process.stdout).readline())
        finally:
            process.kill()


async def serve(host: str, port: str, milliseconds: str) -> None:
    """Carry connections until standard input ends, as it does when the parent is gone."""
    delay = float(milliseconds) / 1000

    async def connected(near: StreamReader, to_near: StreamWriter) -> None:
        await asyncio.sleep(delay)
        try:
            far, to_far = await asyncio.open_connection(host, int(port))
        except OSError:
            to_near.close()
            return
        await asyncio.gather(carry(near, to_far, delay), carry(far, to_near, 0))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


async def carry(source: StreamReader, target: StreamWriter, delay: float) -> None:
    """Pass on what arrives, and then the end."""
    with suppress(OSError):
        while data := await source.read(65536):
            await asyncio.sleep(delay)
            target.write(data)
        target.close()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
