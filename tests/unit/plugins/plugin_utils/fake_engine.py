# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine in a few lines, over TCP: it answers what the collection asks, counts it, and can be told to fail."""
from __future__ import annotations

import http.server
import json
import ssl
import threading
import typing as t
import urllib.parse


class FakeEngine(http.server.ThreadingHTTPServer):
    """Containers by name; ``requests`` tells "METHOD path" in order; ``failure`` (status, message) answers everything but the version."""

    daemon_threads = True

    def __init__(self, containers: dict[str, str], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.containers = containers
        self.requests: list[str] = []
        self.failure: tuple[int, str] | None = None
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """What users give as docker_host."""
        return f"tcp://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> FakeEngine:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A TLS handshake that a test refuses is no output."""

    def listing(self) -> list[dict[str, t.Any]]:
        """As ``GET /containers/json?all=1`` has it."""
        return [{"Id": name, "Names": [f"/{name}", f"/other/{name}-alias"], "State": state, "Status": "x"} for name, state in self.containers.items()]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FakeEngine

    def _answer(self, status: int, body: t.Any) -> None:
        data = b"" if status == 204 else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _handle(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path == "/version":
            return self._answer(200, {"ApiVersion": "1.41", "Version": "20.10.24"})
        self.server.requests.append(f"{self.command} {path}")
        if self.server.failure:
            return self._answer(self.server.failure[0], {"message": self.server.failure[1]})
        parts = path.split("/")[2:]
        if parts == ["containers", "json"]:
            return self._answer(200, self.server.listing())
        if parts[1] not in self.server.containers:
            return self._answer(404, {"message": f"No such container: {parts[1]}"})
        if parts[2] == "restart":
            return self._answer(204, None)
        return self._answer(200, {"Name": f"/{parts[1]}", "State": {"Running": self.server.containers[parts[1]] == "running"}})

    do_GET = do_POST = _handle

    def log_message(self, *dummy: object) -> None:
        """Quiet."""
