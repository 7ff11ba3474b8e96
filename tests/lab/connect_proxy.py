# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP proxy as companies have it: CONNECT only, with or without credentials. It knows the endpoints' DNS names, which resolve nowhere else."""
from __future__ import annotations

import asyncio
import base64
import contextlib
import logging

from .certificates import is_endpoint_name
from .lab_state import LabState

log = logging.getLogger("lab.proxy")
_HTTPS = 443


class ConnectProxy:
    """Listens on a free port of 127.0.0.1 until it is closed; ``gateway`` is where tunnels to the endpoints' names go."""

    def __init__(self, lab: LabState, gateway: str) -> None:
        self._lab = lab
        self._gateway = gateway
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; returns ``http://host:port``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def close(self) -> None:
        """End every connection and the listener."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._connect(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _colon, value in (line.partition(":") for line in head[1:] if line)}
        method, target, _version = (*head[0].split(" "), "", "")[:3]
        if self._lab.faults.take("hang_proxy"):
            while await reader.read(4096):
                pass
            return
        status = self._refusal(method, headers.get("proxy-authorization", ""))
        address = self._address(target)
        if status or address is None:
            self._lab.counters.add("proxy_refused")
            challenge = 'Proxy-Authenticate: Basic realm="lab"\r\n' if status.startswith("407") else ""
            writer.write(f"HTTP/1.1 {status or '502 Bad Gateway'}\r\n{challenge}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            return
        self._lab.counters.add("proxy_connects")
        log.info("proxy: to %s", target)
        backend_reader, backend_writer = await asyncio.open_connection(*address)
        with contextlib.closing(backend_writer):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, backend_writer), _copy(backend_reader, writer))

    def _refusal(self, method: str, authorization: str) -> str:
        """The status line's end for a request that is not served; empty for one that is."""
        if method != "CONNECT":
            return "405 Method Not Allowed"
        wanted = self._lab.settings.proxy_credentials
        if wanted and authorization != f"Basic {base64.b64encode(wanted.encode()).decode()}":
            return "407 Proxy Authentication Required"
        return ""

    def _address(self, target: str) -> tuple[str, int] | None:
        """Where ``host:port`` is: the gateway for an endpoint's name, this machine for itself, nowhere else."""
        host, _colon, port = target.rpartition(":")
        if is_endpoint_name(host, self._lab.world.region) and port == str(_HTTPS):
            host, _colon, port = self._gateway.rpartition(":")
        return (host, int(port)) if host in ("127.0.0.1", "localhost") and port.isdigit() else None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the source ends; then the destination learns that it has."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
