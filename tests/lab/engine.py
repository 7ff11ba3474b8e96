# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine that the lab runs on: a private one of its own, or a running one that the user names in LAB_DOCKER_HOST.

The private engine touches nothing of the machine's own Docker: its data lie in the lab's state directory, it makes no bridge and no
firewall rules (the lab's containers have no network at all), and only the process that ``start`` started is ever stopped.
"""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import time

import docker
import docker.errors
import requests.exceptions

from .paths import Paths
from .process import is_alive, read_pid, stop_process

START_TIMEOUT = 60.0


class LabError(Exception):
    """The lab cannot go on; ``str(error)`` says why and what to do."""


def docker_host(paths: Paths) -> str:
    """The URL of the lab's engine."""
    return os.environ.get("LAB_DOCKER_HOST") or f"unix://{paths.engine_socket}"


def client(docker_host_url: str, *, timeout: int = 60) -> docker.DockerClient:
    """A client of the engine at ``docker_host_url``."""
    return docker.DockerClient(base_url=docker_host_url, version="auto", timeout=timeout)


def answers(docker_host_url: str) -> bool:
    """True when an engine answers there."""
    if docker_host_url.startswith("unix://") and not os.path.exists(docker_host_url[len("unix://"):]):
        return False
    try:
        connection = client(docker_host_url, timeout=5)
        try:
            return bool(connection.ping())
        finally:
            connection.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException):
        return False


def start(paths: Paths) -> bool:
    """Make the engine answer; True when a private one had to be started. Raises :class:`LabError` with the engine's last words."""
    if answers(docker_host(paths)):
        return False
    if os.environ.get("LAB_DOCKER_HOST"):
        raise LabError(f"no Docker engine answers at LAB_DOCKER_HOST={os.environ['LAB_DOCKER_HOST']}: start it, or unset the variable to use the lab's own")
    if os.geteuid() != 0:
        raise LabError("the lab's own Docker engine needs root: run this with sudo, or name a running engine in LAB_DOCKER_HOST")
    program = shutil.which("dockerd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise LabError("dockerd is missing: install Debian's package docker.io (tests/setup does), or name a running engine in LAB_DOCKER_HOST")
    stop(paths)
    for directory in (paths.engine_data, paths.sockets):
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711 if directory == paths.engine_data else 0o700)
    if paths.sockets.stat().st_uid != 0:
        raise LabError(f"{paths.sockets} belongs to another user: remove it")
    paths.engine_config.write_text("{}\n", encoding="utf-8")  # the machine's own /etc/docker/daemon.json is not for this engine
    with open(paths.engine_log, "wb") as log:
        process = subprocess.Popen(
            [
                program, "--config-file", str(paths.engine_config), "--data-root", str(paths.engine_data), "--exec-root", str(paths.engine_exec_root),
                "--host", f"unix://{paths.engine_socket}", "--pidfile", str(paths.sockets / "dockerd.pid"),
                "--bridge=none", "--iptables=false", "--ip6tables=false", "--log-level=warn",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )
    paths.engine_pid.write_text(f"{process.pid}\n", encoding="utf-8")
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LabError(f"the lab's Docker engine ended with status {process.returncode}; its last words ({paths.engine_log}):\n{_tail(paths.engine_log)}")
        if answers(docker_host(paths)):
            return True
        time.sleep(0.2)
    stop(paths)
    raise LabError(f"the lab's Docker engine did not answer within {START_TIMEOUT:.0f} s; its last words ({paths.engine_log}):\n{_tail(paths.engine_log)}")


def stop(paths: Paths) -> None:
    """Stop the private engine, if this lab started one and it still runs, and remove its sockets."""
    pid = read_pid(paths.engine_pid)
    if pid is not None and is_alive(pid, str(paths.engine_data)):
        stop_process(pid, str(paths.engine_data), timeout=30)
        shutil.rmtree(paths.engine_exec_root, ignore_errors=True)
    _clear_stale(paths)


def died(paths: Paths) -> bool:
    """True when the private engine ended without stopping its containers: they may still run, and only an engine can take them away."""
    return paths.engine_exec_root.exists() and not os.environ.get("LAB_DOCKER_HOST") and not answers(docker_host(paths))


def unmount(paths: Paths) -> None:
    """Take away the mounts that an engine left in its data directory when it died; without that the directory cannot be removed."""
    with open("/proc/self/mounts", encoding="utf-8") as stream:
        mounted = [line.split()[1] for line in stream]
    for directory in reversed(mounted):
        if pathlib.Path(directory).is_relative_to(paths.engine_data):
            subprocess.run(["umount", directory], check=False, stdin=subprocess.DEVNULL)


def _clear_stale(paths: Paths) -> None:
    """Remove the pid files and the socket of an engine that runs no more. What it knew of running containers stays for the next one."""
    for path in (paths.engine_pid, paths.engine_socket, paths.sockets / "dockerd.pid"):
        path.unlink(missing_ok=True)


def _tail(log: pathlib.Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
