# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network between two loopback addresses: bytes arrive half a round trip after they were sent, in both directions, as many as one likes at a time.

    python latency.py MILLISECONDS LISTEN_HOST:PORT=TARGET_HOST:PORT ...

A new connection costs one round trip more, as the handshake of TCP does. Runs as a process of its own, so that it is in nobody's CPU time.
"""
from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

_CHUNK = 64 * 1024
_IN_FLIGHT = 4096  # chunks: far more than a window of TCP


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Bytes from ``reader`` to ``writer``, each chunk ``delay`` seconds after it came."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

    async def receive() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except ConnectionError:
                data = b""
            await queue.put((loop.time() + delay, data))

    receiving = asyncio.create_task(receive())
    try:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, OSError):
        writer.close()
    finally:
        receiving.cancel()


async def _serve(round_trip: float, pairs: Sequence[tuple[str, str]]) -> None:
    running: set[asyncio.Task[None]] = set()

    def accept(target: str) -> object:
        host, port = target.rsplit(":", 1)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(round_trip)
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
            for stream in (writer, there_writer):
                stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await asyncio.gather(_carry(reader, there_writer, round_trip / 2), _carry(there_reader, writer, round_trip / 2))
            finally:
                writer.close()
                there_writer.close()

        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(connected(reader, writer))
            running.add(task)
            task.add_done_callback(running.discard)

        return start

    for listen, target in pairs:
        host, port = listen.rsplit(":", 1)
        await asyncio.start_server(accept(target), host, int(port))  # type: ignore[arg-type]
    print("ready", flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def latency(milliseconds: float, pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
    """The network, for as long as the context is open; ``pairs``: listening address and target, as ``host:port``."""
    command = [sys.executable, str(pathlib.Path(__file__)), str(milliseconds), *(f"{listen}={target}" for listen, target in pairs)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the delaying network did not start")
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) / 1000, [(pair.split("=")[0], pair.split("=")[1]) for pair in sys.argv[2:]]))
