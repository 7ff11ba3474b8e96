# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated EC2 Instance Connect Endpoint: TLS, the WebSocket upgrade of ``/openTunnel``, and a bridge per tunnel.

Each answer carries ``x-amzn-RequestId``; refusals are JSON ``{"ErrorCode", "Message"}``, as clients of the service see them.
"""
from __future__ import annotations

import asyncio
import contextlib
import http
import json
import logging
import socket
import ssl
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from websockets.datastructures import Headers
from websockets.http11 import Request as UpgradeRequest
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from .lab_state import LabState
from .signature import Request
from .tunnel_admission import Admission, TunnelRefused, admit
from .tunnel_bridge import TunnelBridge, reset

log = logging.getLogger("lab.gateway")
HANDSHAKE_TIMEOUT = 15.0
# From an instance's record and a port to the command whose standard input and output are a connection to that port; None: nothing listens.
BridgeCommand = Callable[[dict[str, Any], int], Sequence[str] | None]


class Gateway:
    """Accepts tunnels on a listening socket until it is closed."""

    def __init__(self, lab: LabState, context: ssl.SSLContext, bridge_command: BridgeCommand) -> None:
        self._lab = lab
        self._context = context
        self._bridge_command = bridge_command
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    def start(self) -> str:
        """Listen on a free port of 127.0.0.1; returns ``host:port``."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    async def close(self) -> None:
        """End every tunnel and the listener."""
        tasks = [task for task in (self._accepting, *self._connections) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _address = await loop.sock_accept(listener)
            task = asyncio.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        """One TCP connection, from accept to close."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer = None
        try:
            if self._lab.faults.take("reset_connection"):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                return
            if self._lab.faults.take("hang_tls"):
                await _wait_for_end(connection)
                return
            reader, writer = await self._start_tls(connection)
            await self._upgrade(reader, writer)
        except (OSError, asyncio.TimeoutError) as error:  # ssl.SSLError is an OSError
            log.info("connection ended: %s", error)
        except Exception:
            log.exception("a connection ended by an error in the lab")
        finally:
            if writer is None:
                connection.close()
            else:
                writer.close()

    async def _start_tls(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        streams = asyncio.StreamReaderProtocol(reader)
        transport, _protocol = await loop.connect_accepted_socket(lambda: streams, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT)
        return reader, asyncio.StreamWriter(transport, streams, reader, loop)

    async def _upgrade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read the request, decide, answer, and carry the tunnel."""
        protocol = ServerProtocol(max_size=self._lab.settings.max_client_message)
        request = await asyncio.wait_for(_read_request(reader, protocol), HANDSHAKE_TIMEOUT)
        if request is None:
            await _write(writer, protocol)
            return
        try:
            admission = admit(self._lab, Request("GET", request.path, {name.lower(): value for name, value in request.headers.raw_items()}))
        except TunnelRefused as refused:
            await self._refuse(refused, request, reader, writer, protocol)
            return
        response = protocol.accept(request)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            no_upgrade = TunnelRefused(response.status_code, "InvalidRequest", "The request is not a WebSocket upgrade.")
            await self._refuse(no_upgrade, request, reader, writer, protocol)
            return
        await self._carry(admission, response, reader, writer, protocol)

    async def _carry(self, admission: Admission, response: Response, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                     protocol: ServerProtocol) -> None:
        """Answer 101 and bridge; the tunnel counts against its endpoint's quota from here until the client's side is closed."""
        counters, endpoint_id = self._lab.counters, admission.endpoint_id
        counters.add("tunnels", scope=admission.instance_id)
        counters.tunnel_opened(endpoint_id)
        with contextlib.ExitStack() as slot:
            slot.callback(counters.tunnel_closed, endpoint_id)
            request_id = _identify(response)
            log.info("tunnel %s to %s port %d opened, for at most %.0f s", request_id, admission.instance_id, admission.port, admission.duration)
            protocol.send_response(response)
            await _write(writer, protocol)
            command = self._bridge_command(admission.instance, admission.port) if admission.instance else None
            await TunnelBridge(self._lab, admission, reader, writer, protocol, on_end=slot.close).run(command)
            log.info("tunnel %s closed", request_id)

    async def _refuse(self, refused: TunnelRefused, request: UpgradeRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                      protocol: ServerProtocol) -> None:
        """Deliver a refusal in its form."""
        self._lab.counters.add("tunnels_refused")
        log.info("tunnel refused: %s (%s)", refused, refused.how)
        if refused.how == "reset":
            reset(writer)
        elif refused.how == "hang":
            while await reader.read(4096):
                pass
        elif refused.how == "close":
            response = protocol.accept(request)
            _identify(response)
            protocol.send_response(response)
            if protocol.state is State.OPEN:
                protocol.send_close(1013, refused.message)
            await _write(writer, protocol)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(4096), HANDSHAKE_TIMEOUT)
        else:
            body = b"" if refused.code is None else json.dumps({"ErrorCode": refused.code, "Message": refused.message}).encode()
            headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
            if body:
                headers["Content-Type"] = "application/json"
            response = Response(refused.status, _phrase(refused.status), headers, body)
            _identify(response)
            protocol.send_response(response)
            await _write(writer, protocol)


async def _read_request(reader: asyncio.StreamReader, protocol: ServerProtocol) -> UpgradeRequest | None:
    """The upgrade request; None when the client sent something else or went away."""
    while True:
        data = await reader.read(16384)
        if not data:
            return None
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, UpgradeRequest):
                return event
        if protocol.handshake_exc is not None:
            return None


async def _write(writer: asyncio.StreamWriter, protocol: ServerProtocol) -> None:
    for chunk in protocol.data_to_send():
        if chunk:
            writer.write(chunk)
    await writer.drain()


async def _wait_for_end(connection: socket.socket) -> None:
    """Read and ignore until the other side closes."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    while await loop.sock_recv(connection, 65536):
        pass


def _identify(response: Response) -> str:
    """Give the response a request id; returns it."""
    request_id = str(uuid.uuid4())
    response.headers["x-amzn-RequestId"] = request_id
    return request_id


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
