# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's simulated services, without a Docker engine: a small world, and a command of the test's choice behind the tunnels."""
from __future__ import annotations

import asyncio
import json
import pathlib
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import botocore.config
import botocore.session
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from lab.lab_state import LabState
from lab.service import Services
from tunnel_client import TunnelClient

REGION = "us-east-2"
ENDPOINT_ID = "eice-0123456789abcdef0"
ENDPOINT_DNS = f"{ENDPOINT_ID}.0badcafe.ec2-instance-connect-endpoint.{REGION}.amazonaws.com"
RUNNING, STOPPED, TERMINATED, ELSEWHERE = "i-0a1b2c3d4e5f60001", "i-0a1b2c3d4e5f60002", "i-0a1b2c3d4e5f60003", "i-0a1b2c3d4e5f60004"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJm1Jc6sMzMdhrTj7N5uL5zBPdUBS0dbHxLUZoeTTYJ"


def instance(instance_id: str, state: str, address: str, vpc: str = "vpc-1", **tags: str) -> dict[str, Any]:
    """One instance of the world."""
    return {"instance_id": instance_id, "state": state, "private_ip": address, "vpc_id": vpc, "subnet_id": "subnet-1", "availability_zone": f"{REGION}a",
            "tags": tags, "host_container": f"ec2-{instance_id}", "runtime_container": f"runtime-{instance_id}", "os_user": "ubuntu",
            "config_dir": "/configs", "host_keys": [ED25519]}


def small_world(directory: pathlib.Path) -> dict[str, Any]:
    """The content of world.json."""
    return {
        "docker_host": f"unix://{directory}/engine.sock", "region": REGION, "vpc_id": "vpc-1",
        "credentials": {"access_key": "AKIALABLABLABLABLAB0", "secret_key": "secret/key+with=signs"},
        "more_credentials": [{"access_key": "ASIALABLABLABLABLAB1", "secret_key": "temporary", "session_token": "token/with+signs=="}],
        "endpoints": [
            {"id": ENDPOINT_ID, "dns_name": ENDPOINT_DNS, "vpc_id": "vpc-1", "subnet_id": "subnet-1", "state": "create-complete"},
            {"id": "eice-0fedcba9876543210", "dns_name": ENDPOINT_DNS.replace(ENDPOINT_ID, "eice-0fedcba9876543210"), "vpc_id": "vpc-2",
             "subnet_id": "subnet-9", "state": "create-failed"},
        ],
        "instances": [
            instance(RUNNING, "running", "10.0.0.1", WorkspaceID="w-1", Role="workspace", Runtime="claude-code"),
            instance(STOPPED, "stopped", "10.0.0.2", WorkspaceID="w-2", Role="workspace", Runtime="hermes"),
            instance(TERMINATED, "terminated", "10.0.0.3", WorkspaceID="w-1", Role="workspace"),
            instance(ELSEWHERE, "running", "10.9.0.4", vpc="vpc-2", Role="tenant"),
        ],
        "workspaces": [
            {"id": "a1fa0000-1111-4aaa-8bbb-000000000001", "name": "alpha", "runtime": "claude-code", "status": "online", "org_id": "org-1",
             "container": "ws-a1fa0000-111", "instance_id": None},
            {"id": "0e7e0000-7777-4aaa-8bbb-000000000007", "name": "outside", "runtime": "external", "status": "online", "org_id": "org-1",
             "container": None, "instance_id": None},
            {"id": "de1e7ed0-7777-4aaa-8bbb-000000000008", "name": "gone", "runtime": "claude-code", "status": "removed", "org_id": "org-1",
             "container": None, "instance_id": None},
        ],
        "platform": {"admin_token": "platform-token", "org_id": "org-1"},
        "key_store": str(directory / "keys"), "engine_sockets": str(directory / "engines"),
    }


class RunningLab:
    """The services in a thread, and ways to talk to them."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.bridge_command = ["cat"]
        self.restarted: list[str] = []
        self.world = small_world(directory)
        self.write_world()
        self.state = LabState.load(directory)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._services = self._call(self._start())
        self.addresses = self._services.addresses

    async def _start(self) -> Services:
        services = Services(self.state, lambda _instance, port: self.bridge_command if port == 22 else None,
                            lambda workspace: self.restarted.append(workspace["name"]))
        await services.start()
        return services

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def close(self) -> None:
        """End the services, once."""
        if not self._thread.is_alive():
            return
        self._call(self._services.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @staticmethod
    def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
        """Whether the condition comes true in time."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        return condition()

    def write_world(self) -> None:
        (self.directory / "world.json").write_text(json.dumps(self.world))

    def client(self, service: str, **options: Any) -> Any:
        """A real botocore client; credentials of the world unless given otherwise."""
        keys = {"aws_access_key_id": self.world["credentials"]["access_key"], "aws_secret_access_key": self.world["credentials"]["secret_key"], **options}
        return botocore.session.Session().create_client(
            service, region_name=REGION, endpoint_url=self.addresses["aws_url"], verify=self.addresses["ca_file"],
            config=botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}), **keys)

    def tunnel_url(self, *, host: str = ENDPOINT_DNS, expires: int = 60, access: tuple[str, str, str | None] | None = None, **parameters: Any) -> str:
        """A URL signed by botocore (an implementation that is not the lab's)."""
        key, secret, token = access or (self.world["credentials"]["access_key"], self.world["credentials"]["secret_key"], None)
        wanted = {"instanceConnectEndpointId": ENDPOINT_ID, "remotePort": "22", "privateIpAddress": "10.0.0.1", **parameters}
        request = AWSRequest("GET", f"https://{host}/openTunnel", params={name: value for name, value in wanted.items() if value is not None})
        SigV4QueryAuth(Credentials(key, secret, token), "ec2-instance-connect", REGION, expires=expires).add_auth(request)
        return request.prepare().url.replace("https://", "wss://", 1)

    def gateway_socket(self) -> socket.socket:
        """A TCP connection to the gateway."""
        host, port = self.addresses["tunnel_address"].split(":")
        return socket.create_connection((host, int(port)), timeout=10)

    def connect(self, url: str | None = None) -> TunnelClient:
        """Open a tunnel."""
        context = ssl.create_default_context(cafile=self.addresses["ca_file"])
        url = url or self.tunnel_url()
        host = urllib.parse.urlsplit(url).hostname
        # A connection that ends without TLS' own end is an error, so that a reset can be told from an orderly end.
        return TunnelClient(context.wrap_socket(self.gateway_socket(), server_hostname=host, suppress_ragged_eofs=False), url)


@pytest.fixture()
def lab() -> Iterator[RunningLab]:
    # Unix sockets need a short path, which pytest's own temporary directories are not.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="lab-"))
    running = RunningLab(directory)
    try:
        yield running
    finally:
        running.close()
        shutil.rmtree(directory)
