# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All simulated services in one process: ``python -m lab.service --state <directory>``.

Reads ``world.json`` in that directory (again whenever it changes) and writes ``service.json`` with the addresses when everything listens;
removes it at its end. SIGTERM and SIGINT end it cleanly. Listens on 127.0.0.1 and on unix sockets only.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import pathlib
import signal
import ssl
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from . import engine, machines
from .certificates import Certificates
from .connect_proxy import ConnectProxy
from .control import Control
from .control_plane import ControlPlane
from .docker_proxy import DockerProxy
from .gateway import BridgeCommand, Gateway
from .lab_state import LabState
from .platform_api import PlatformApi, Restart
from .world import World

log = logging.getLogger("lab.service")
SSH_PORT = 22


class Services:
    """Everything that listens; ``addresses`` is the content of service.json."""

    def __init__(self, lab: LabState, bridge_command: BridgeCommand, restart: Restart) -> None:
        self.lab = lab
        self.addresses: dict[str, Any] = {}
        self._certificates = Certificates(lab.directory)
        self._gateway = Gateway(lab, self._certificates.gateway_context(lab.world.region), bridge_command)
        self._proxy: ConnectProxy | None = None
        self._docker = DockerProxy(lab)
        self._platform = PlatformApi(lab, restart)
        self._runners: list[web.AppRunner] = []

    async def start(self) -> None:
        """Listen everywhere, then say so in service.json."""
        await self._docker.start()
        gateway = self._gateway.start()
        self._proxy = ConnectProxy(self.lab, gateway)
        self.addresses = {
            "ca_file": str(self._certificates.ca_file),
            "aws_url": await self._serve(ControlPlane(self.lab).application(), self._certificates.local_context()),
            "tunnel_address": gateway,
            "proxy_url": await self._proxy.start(),
            "platform_url": await self._serve(self._platform.application()),
            "control_url": await self._serve(Control(self.lab).application()),
            "pid": os.getpid(),
        }
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self.addresses, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self._file)
        log.info("ready: %s", self.addresses)

    async def close(self) -> None:
        """End every connection, then every listener."""
        self._file.unlink(missing_ok=True)
        if self._proxy is not None:
            await self._proxy.close()
        await self._gateway.close()
        await self._platform.close()
        for runner in self._runners:
            await runner.cleanup()
        await self._docker.close()

    @property
    def _file(self) -> pathlib.Path:
        return self.lab.directory / "service.json"

    async def _serve(self, application: web.Application, context: ssl.SSLContext | None = None) -> str:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"


def ssh_bridge(lab: LabState) -> BridgeCommand:
    """Port 22 of an instance: an sshd of its own per connection, in the instance's host container."""
    def command(instance: dict[str, Any], port: int) -> Sequence[str] | None:
        if port != SSH_PORT or not instance.get("host_container"):
            return None
        return ["docker", "--host", lab.world.docker_host, "exec", "--interactive", instance["host_container"], *machines.SSHD_COMMAND]
    return command


def engine_restart(lab: LabState) -> Restart:
    """The platform's restart, on the lab's engine."""
    def restart(workspace: dict[str, Any]) -> None:
        world = World.load(lab.directory)
        client = engine.client(lab.world.docker_host)
        try:
            if world.instance_of(workspace):
                machines.replace_instance(client, world, workspace["instance_id"])
            else:
                machines.recreate_workspace(client, world, workspace["name"])
        finally:
            client.close()
    return restart


async def serve(state: pathlib.Path) -> None:
    """Run the services until a signal ends them."""
    lab = LabState.load(state)
    services = Services(lab, ssh_bridge(lab), engine_restart(lab))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    try:
        await services.start()
        await ended.wait()
    finally:
        await services.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.service", description=__doc__)
    parser.add_argument("--state", required=True, type=pathlib.Path, help="the lab's state directory")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    asyncio.run(serve(parser.parse_args().state.resolve()))


if __name__ == "__main__":
    main()
