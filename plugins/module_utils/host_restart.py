# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Restart a workspace's runtime from the EC2 host that it runs on: its container by the docker program, or its systemd service.

One call does everything (what is pending, restart, wait, confirm), so a restart costs one remote execution.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any, Callable, Mapping

from . import plugin_request
from .container_readiness import STILL_PENDING, ContainerReadiness, Readiness, state_of, wait_until_ready
from .errors import InvalidInputError, WorkspaceError
from .names import validate_container_name, validate_systemd_unit
from .printable import printable

OPERATION = "restart_host"

# Not the caller's PATH: what runs as root is looked up only where root installs programs.
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"

# How long a program may take to answer a question, in seconds; a restart is given its stop timeout in addition.
_ANSWER_TIMEOUT = 60.0
_MAX_REASON = 300

_SERVICE_PROPERTIES = ["LoadState", "ActiveState", "SubState", "InvocationID", "ActiveEnterTimestamp", "ExecMainStatus"]


class Programs:
    """Runs the host's programs: looked up in ``path``, with lists of arguments, in English, without a terminal, never for ever."""

    def __init__(self, path: str = SAFE_PATH) -> None:
        self._path = path

    def run(self, program: str, arguments: list[str], what: str, timeout: float = _ANSWER_TIMEOUT) -> str:
        """Return the program's standard output; raise :class:`WorkspaceError` (``cannot <what>: ...``) if it is missing, fails or hangs."""
        executable = shutil.which(program, path=self._path)
        if executable is None:
            raise WorkspaceError(f"cannot {what}: there is no {program} program on this host (looked in {self._path})")
        try:
            done = subprocess.run(  # noqa: S603 - a list without a shell; names are checked before they come here
                [executable, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=dict(os.environ, PATH=self._path, LC_ALL="C"),
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise WorkspaceError(f"cannot {what}: {program} did not answer within {timeout:g} s; look at the host's {program} service") from None
        except OSError as error:
            raise WorkspaceError(f"cannot {what}: {program} could not be run ({error.strerror})") from error
        if done.returncode != 0:
            raise WorkspaceError(f"cannot {what}: {_reason(program, done.returncode, done.stderr)}")
        return done.stdout.decode("utf-8", "replace")


def _reason(program: str, status: int, stderr: bytes) -> str:
    """The last line that a program wrote before it failed, printable and short."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    said = printable(lines[-1], _MAX_REASON) if lines else "no reason given"
    return f"{program} ended with exit code {status} ({said})"


class ContainerTarget:
    """The runtime's container on this host."""

    def __init__(self, name: str, programs: Programs) -> None:
        self.name = validate_container_name(name)
        self._programs = programs

    def look(self) -> Mapping[str, Any]:
        """What ``docker inspect`` says of its state, see :func:`~.container_readiness.state_of`."""
        answer = self._programs.run("docker", ["container", "inspect", self.name], f"inspect container {self.name}")
        try:
            return state_of(json.loads(answer)[0])
        except (ValueError, LookupError, TypeError, AttributeError):
            raise WorkspaceError(f"cannot inspect container {self.name}: docker's answer is not what 'docker container inspect' gives") from None

    def readiness(self, before: Mapping[str, Any], settle: float) -> ContainerReadiness:
        """Judge the container from now on, given its state ``before`` the restart."""
        return ContainerReadiness(self.name, str(before.get("StartedAt") or ""), settle)

    def restart(self, stop_timeout: int) -> None:
        """``docker restart``; ``stop_timeout`` seconds pass between SIGTERM and SIGKILL."""
        arguments = ["container", "restart", "-t", str(stop_timeout), self.name]
        self._programs.run("docker", arguments, f"restart container {self.name}", stop_timeout + _ANSWER_TIMEOUT)


class ServiceTarget:
    """The runtime's systemd service on this host, for runtimes that run without a container."""

    def __init__(self, unit: str, programs: Programs) -> None:
        self.name = validate_systemd_unit(unit)
        self._programs = programs

    def look(self) -> Mapping[str, Any]:
        """The service's properties as systemd writes them."""
        arguments = ["show", "--no-pager", "--property=" + ",".join(_SERVICE_PROPERTIES), self.name]
        answer = self._programs.run("systemctl", arguments, f"look at service {self.name}")
        properties = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
        if properties.get("LoadState") != "loaded":
            state = properties.get("LoadState", "unknown")
            raise WorkspaceError(f"there is no usable systemd service {self.name} on this host (systemd says {state}): check the option unit")
        return properties

    def readiness(self, before: Mapping[str, Any], settle: float) -> ServiceReadiness:
        """Judge the service from now on, given its properties ``before`` the restart."""
        return ServiceReadiness(self.name, before.get("InvocationID", ""), settle)

    def restart(self, stop_timeout: int) -> None:
        """``systemctl restart`` without waiting for the start, which :class:`ServiceReadiness` does; the unit itself says how long it may take to stop."""
        arguments = ["restart", "--no-block", "--no-ask-password", self.name]
        self._programs.run("systemctl", arguments, f"restart service {self.name}", stop_timeout + _ANSWER_TIMEOUT)


class ServiceReadiness:
    """Judges one systemd service after a restart: active, of another invocation than before, for ``settle`` seconds."""

    def __init__(self, unit: str, invocation_before: str, settle: float) -> None:
        self._unit = unit
        self._invocation_before = invocation_before
        self._invocation = invocation_before
        self._settle = settle
        self._stable_since: float | None = None
        self._state = "unknown"
        self.started_at = ""

    def observe(self, state: Mapping[str, Any], now: float) -> bool:
        """Take the service's properties seen at ``now`` (monotonic seconds); raise :class:`WorkspaceError` when systemd has given it up."""
        invocation = state.get("InvocationID", "")
        self._state = "{} ({})".format(state.get("ActiveState"), state.get("SubState"))
        if invocation == self._invocation_before:
            self._stable_since = None
            return False
        if state.get("ActiveState") == "failed":
            status = state.get("ExecMainStatus")
            raise WorkspaceError(
                f"service {self._unit} failed after its restart with exit code {status}: read 'journalctl -u {self._unit}' for the reason; {STILL_PENDING}"
            )
        if state.get("ActiveState") != "active" or invocation != self._invocation:
            self._invocation = invocation
            self._stable_since = None
        if state.get("ActiveState") != "active":
            return False
        if self._stable_since is None:
            self._stable_since = now
            self.started_at = str(state.get("ActiveEnterTimestamp", ""))
        return now - self._stable_since >= self._settle

    def overdue(self, timeout: float) -> WorkspaceError:
        """Return the error for a service that was not ready within ``timeout`` seconds."""
        return WorkspaceError(
            f"service {self._unit} was not ready {timeout:g} s after its restart, because it is {self._state}: "
            f"read 'journalctl -u {self._unit}' or allow more time with the option wait_timeout; {STILL_PENDING}"
        )


def changes(request: Mapping[str, Any]) -> bool:
    """Tell whether ``request`` may change the host or the workspace, so that check mode must not send it."""
    return not request["dry_run"] if request.get("operation") == OPERATION else plugin_request.changes(request)


def handle(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request: :func:`restart`, or one about receipts. Raises :class:`WorkspaceError`."""
    return restart(request) if request.get("operation") == OPERATION else plugin_request.handle(request)


def restart(request: Mapping[str, Any], programs: Programs | None = None, wait: Callable[..., float] = wait_until_ready) -> dict[str, Any]:
    """Restart the runtime if a receipt asks for it (or ``force``), wait until it is back, and confirm the receipts.

    ``request``: ``version`` 1, ``operation`` ``restart_host``, ``config_dir``, ``container`` or ``unit``, and ``force``, ``dry_run`` (bool),
    ``wait_timeout``, ``settle``, ``stop_timeout`` (seconds).
    Returns ``{"needed": bool, "restarted": bool, "waited": seconds, "started_at": str | None, "cleared": [names], "restart_pending": [names],
    "problems": [sentences about receipts that cannot be read]}``.
    Raises :class:`WorkspaceError`; after a failed restart the receipts still say ``restart_pending``.
    """
    target = _target(request, programs or Programs())
    common = {"version": request["version"], "config_dir": request["config_dir"]}
    answer = plugin_request.handle(dict(common, operation="pending_restarts"))
    pending = answer["restart_pending"]
    result: dict[str, Any] = {
        "needed": bool(pending or request["force"]),
        "restarted": False,
        "waited": 0.0,
        "started_at": None,
        "cleared": [],
        "restart_pending": sorted(pending),
        "problems": answer["problems"],
    }
    if not result["needed"]:
        return result
    before = target.look()
    if request["dry_run"]:
        return result
    readiness: Readiness = target.readiness(before, request["settle"])
    target.restart(request["stop_timeout"])
    result["waited"] = wait(target.look, readiness, request["wait_timeout"])
    confirmed = plugin_request.handle(dict(common, operation="confirm_restart", install_ids=pending)) if pending else {"cleared": [], "restart_pending": []}
    result.update(restarted=True, started_at=readiness.started_at, cleared=confirmed["cleared"], restart_pending=confirmed["restart_pending"])
    return result


def _target(request: Mapping[str, Any], programs: Programs) -> ContainerTarget | ServiceTarget:
    """The one thing to restart; raises :class:`InvalidInputError` when the request names none or an impossible one."""
    if request.get("unit"):
        return ServiceTarget(request["unit"], programs)
    if request.get("container"):
        return ContainerTarget(request["container"], programs)
    raise InvalidInputError("nothing to restart on the EC2 host: give the option container or unit")
