# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small EC2 Instance Connect in this process, for unit tests: the websocket gateway, SendSSHPublicKey, the two describe calls, and a real sshd behind them.

Unlike the lab it verifies no signature and knows one instance only; its faults are attributes.
"""
from __future__ import annotations

import asyncio
import collections
import getpass
import http
import http.server
import json
import pathlib
import shutil
import ssl
import subprocess
import threading
import urllib.parse

import trustme
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

INSTANCE = "i-0123456789abcdef0"
ENDPOINT = "eice-0123456789abcdef0"
DNS_NAME = f"{ENDPOINT}.abcdef12.ec2-instance-connect-endpoint.us-east-2.amazonaws.com"
ADDRESS = "10.0.1.17"
USER = getpass.getuser()


class EicService:
    """Start with ``with EicService(directory) as service``; the attributes below are the faults and the counters."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.counters: collections.Counter[str] = collections.Counter()
        self.tunnel_requests: list[dict[str, str]] = []
        self.pushes: list[dict[str, str]] = []
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.close: tuple[int, str] | None = None
        self.send_text = False
        self.push_answers: list[tuple[int, dict[str, str]]] = []
        self.accept_keys = True
        self.instances = {INSTANCE: "running"}
        self.endpoint_state = "create-complete"
        self.echo = False
        self._connections: set[ServerConnection] = set()
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(DNS_NAME, "127.0.0.1").configure_cert(self._context)
        self._make_sshd()

    def __enter__(self) -> EicService:
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the websocket server did not start")
        handler = type("Handler", (_ApiHandler,), {"service": self})
        self._api = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._api.socket = self._context.wrap_socket(self._api.socket, server_side=True)
        threading.Thread(target=self._api.serve_forever, daemon=True).start()
        self.api_url = f"https://127.0.0.1:{self._api.server_address[1]}"
        return self

    def __exit__(self, *_exception: object) -> None:
        self._api.shutdown()
        self._api.server_close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def cut_all_tunnels(self) -> None:
        """Abort every tunnel's TCP connection, as a network does."""
        for connection in list(self._connections):
            self._loop.call_soon_threadsafe(connection.transport.abort)

    def renew_host_key(self) -> None:
        """Give the instance's sshd another host key."""
        for name in ("host_key", "host_key.pub"):
            (self.directory / name).unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / "host_key")], check=True)

    def _make_sshd(self) -> None:
        self.renew_host_key()
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        lines = [
            f"HostKey {self.directory}/host_key",
            f"AuthorizedKeysFile {self.directory}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            "Subsystem sftp internal-sftp",
            "MaxSessions 3",
        ]
        (self.directory / "sshd_config").write_text("\n".join(lines) + "\n")

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._stop = asyncio.Event()

        async def main() -> None:
            async with serve(
                self._tunnel, "127.0.0.1", 0, ssl=self._context, process_request=self._process_request,
                compression=None, ping_interval=None, close_timeout=1, max_size=None,
            ) as server:
                port = server.sockets[0].getsockname()[1]
                self.tunnel_address = f"127.0.0.1:{port}"
                started.set()
                await self._stop.wait()

        self._loop.run_until_complete(main())

    def _process_request(self, _connection: ServerConnection, request: Request) -> Response | None:
        url = urllib.parse.urlsplit(request.path)
        parameters = dict(urllib.parse.parse_qsl(url.query))
        self.tunnel_requests.append({**parameters, "path": url.path, "host": request.headers["Host"], "headers": ",".join(sorted(request.headers))})
        self.counters["tunnels"] += 1
        if self.refusals:
            status, body = self.refusals.pop(0)
            content = json.dumps(body).encode()
            headers = Headers({"Content-Length": str(len(content)), "x-amzn-RequestId": "refused-request"})
            return Response(status, http.HTTPStatus(status).phrase, headers, content)
        return None

    async def _tunnel(self, connection: ServerConnection) -> None:
        if self.close:
            await connection.close(*self.close)
            return
        if self.send_text:
            await connection.send("surprise")
        if self.echo:
            async for message in connection:
                await connection.send(message)
            return
        self._connections.add(connection)
        sshd = await asyncio.create_subprocess_exec(
            shutil.which("sshd") or "/usr/sbin/sshd", "-i", "-f", str(self.directory / "sshd_config"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )

        async def to_sshd() -> None:
            try:
                async for message in connection:
                    sshd.stdin.write(message)
                    await sshd.stdin.drain()
            finally:
                sshd.stdin.close()

        async def from_sshd() -> None:
            while data := await sshd.stdout.read(32768):
                await connection.send(data)
            await connection.close()

        try:
            await asyncio.gather(to_sshd(), from_sshd(), return_exceptions=True)
        finally:
            self._connections.discard(connection)
            if sshd.returncode is None:
                sshd.kill()
            await sshd.wait()


class _ApiHandler(http.server.BaseHTTPRequestHandler):
    """SendSSHPublicKey (JSON 1.1) and the two describe actions (EC2's query protocol)."""

    service: EicService
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "X-Amz-Target" in self.headers:
            self._push(json.loads(body))
            return
        query = {key: values[0] for key, values in urllib.parse.parse_qs(body.decode()).items()}
        self.service.counters[query["Action"]] += 1
        if query["Action"] == "DescribeInstances":
            self._describe_instances(query["InstanceId.1"])
        else:
            self._describe_endpoints()

    def _push(self, content: dict[str, str]) -> None:
        self.service.counters["pushes"] += 1
        self.service.pushes.append({**content, "target": self.headers["X-Amz-Target"]})
        if self.service.push_answers:
            self._answer(*self.service.push_answers.pop(0))
            return
        if self.service.accept_keys:
            (self.service.directory / "authorized_keys").write_text(content["SSHPublicKey"] + "\n")
        self._answer(200, {"RequestId": "pushed", "Success": True})

    def _describe_instances(self, instance_id: str) -> None:
        state = self.service.instances.get(instance_id)
        if state is None:
            self._xml(400, f"<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>The instance ID '{instance_id}' does not exist</Message>"
                           "</Error></Errors><RequestID>describe</RequestID></Response>")
            return
        self._xml(200, f"<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>{instance_id}</instanceId>"
                       f"<instanceState><code>16</code><name>{state}</name></instanceState><privateIpAddress>{ADDRESS}</privateIpAddress>"
                       "<vpcId>vpc-1</vpcId><subnetId>subnet-1</subnetId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>")

    def _describe_endpoints(self) -> None:
        self._xml(200, "<DescribeInstanceConnectEndpointsResponse><instanceConnectEndpointSet><item>"
                       f"<instanceConnectEndpointId>{ENDPOINT}</instanceConnectEndpointId><dnsName>{DNS_NAME}</dnsName>"
                       f"<state>{self.service.endpoint_state}</state><vpcId>vpc-1</vpcId><subnetId>subnet-1</subnetId>"
                       "</item></instanceConnectEndpointSet></DescribeInstanceConnectEndpointsResponse>")

    def _answer(self, status: int, content: dict[str, object]) -> None:
        self._send(status, json.dumps(content).encode(), "application/x-amz-json-1.1")

    def _xml(self, status: int, text: str) -> None:
        self._send(status, text.encode(), "text/xml")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-amzn-RequestId", "api-request")
        self.end_headers()
        self.wfile.write(content)
