# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart one workspace's runtime, seen from the controller: which way, whether at all, and when its receipts may be confirmed.

A receipt says ``restart_pending`` from an install until a restart after it has really succeeded. What is pending is read *before* the restart and only that
is confirmed after it, so an install that slips in between stays pending.
"""
from __future__ import annotations

import abc
import dataclasses
import typing as t

from ..module_utils import host_restart, request_fields
from ..module_utils.container_readiness import ContainerReadiness, state_of, wait_until_ready
from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.names import validate_config_dir, validate_container_name, validate_systemd_unit, validate_workspace_id
from . import docker_engine, this_run
from .platform_api import Platform, PlatformOptions

# Runs one request on the workspace and returns its result; raises WorkspaceError.
Remote = t.Callable[[dict[str, t.Any]], dict[str, t.Any]]

IN_PLACE_TIMEOUT = 120
# On the SaaS a restart terminates the instance and provisions another one.
PLATFORM_TIMEOUT = 900

# On a Docker engine we work in the container itself, so one that stays down cannot be mended by another run.
_OUT_OF_REACH = (
    "if one of its plugins is the reason, run the playbook molecule_ai.workspace.rollback with its name, which also reaches a container that is down"
)
_LOOK_UP = "run molecule_ai.workspace.workspace_backend_facts before"


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What is to be restarted: from the task's options, or else from the fact ``workspace_backend``."""

    tier: str
    config_dir: str
    workspace_id: str | None
    container: str | None
    unit: str | None

    @classmethod
    def resolve(cls, parameters: t.Mapping[str, t.Any], backend: t.Mapping[str, t.Any] | None) -> Runtime:
        """Raises :class:`InvalidInputError` for an impossible name and :class:`WorkspaceError` for a workspace that cannot be reached."""
        fact = backend or {}
        tier = parameters.get("tier") or fact.get("tier")
        if tier is None:
            raise InvalidInputError(f"which runtime is to be restarted is not known: {_LOOK_UP}, or give tier and config_dir")
        if tier in ("external", "none"):
            default = "it runs somewhere else" if tier == "external" else "it has no running backend"
            raise WorkspaceError(f"this workspace cannot be restarted from here: {fact.get('reason') or default}")
        config_dir = parameters.get("config_dir") or fact.get("config_dir")
        if not config_dir:
            raise InvalidInputError(f"where the runtime's configuration lies is not known: {_LOOK_UP}, or give config_dir")
        target = fact.get("restart") or {}
        if parameters.get("container") or parameters.get("unit"):
            target = parameters
        container, unit = target.get("container"), target.get("unit")
        workspace_id = parameters.get("workspace_id") or fact.get("workspace_id")
        return cls(
            tier=tier,
            config_dir=validate_config_dir(config_dir),
            workspace_id=validate_workspace_id(workspace_id) if workspace_id else None,
            container=validate_container_name(container) if container else None,
            unit=validate_systemd_unit(unit) if unit else None,
        )


class Method(abc.ABC):
    """One way to restart. ``result`` is what the task returns; ``_result`` gives its shape."""

    def __init__(self, runtime: Runtime, parameters: t.Mapping[str, t.Any], remote: Remote) -> None:
        self._runtime = runtime
        self._parameters = parameters
        self._remote = remote
        self._warnings: list[str] = []

    @abc.abstractmethod
    def run(self, check_mode: bool) -> dict[str, t.Any]:
        """Do it, or in check mode only say what would be done; raises :class:`WorkspaceError`."""

    def _result(self, **known: object) -> dict[str, t.Any]:
        return {
            "changed": False,
            "method": self._parameters["method"],
            "restarted": False,
            "waited": 0.0,
            "started_at": None,
            "cleared": [],
            "restart_pending": [],
            "awaiting_confirmation": {},
            **({"warnings": self._warnings} if self._warnings else {}),
            **known,
        }

    def _request(self, operation: str, **more: object) -> dict[str, t.Any]:
        return {"version": request_fields.VERSION, "operation": operation, "config_dir": self._runtime.config_dir, **more}

    def _pending(self) -> dict[str, str]:
        """The plugins that wait for a restart, each with the id of the install that waits."""
        answer = self._remote(self._request("pending_restarts"))
        self._warnings += answer["problems"]
        pending: dict[str, str] = answer["restart_pending"]
        return pending

    def _confirm(self, install_ids: dict[str, str], result: dict[str, t.Any]) -> None:
        if install_ids:
            confirmed = self._remote(self._request("confirm_restart", install_ids=install_ids))
            result.update(cleared=confirmed["cleared"], restart_pending=confirmed["restart_pending"])

    def _wait_timeout(self, default: int) -> int:
        asked = self._parameters.get("wait_timeout")
        return default if asked is None else asked


class ControllerMethod(Method):
    """A way to restart that the controller takes itself, between two short calls on the workspace."""

    def run(self, check_mode: bool) -> dict[str, t.Any]:
        """Restart if a receipt asks for it (or ``force``), wait until the runtime is back, confirm; raises :class:`WorkspaceError`."""
        pending = self._pending()
        result = self._result(restart_pending=sorted(pending), changed=bool(pending or self._parameters["force"]))
        if result["changed"]:
            self._ensure_possible()
            if not check_mode:
                this_run.require_alive()
                self._restart(pending, result)
        return result

    @abc.abstractmethod
    def _ensure_possible(self) -> None:
        """Find what would make the restart fail, without any effect."""

    @abc.abstractmethod
    def _restart(self, pending: dict[str, str], result: dict[str, t.Any]) -> None:
        """Restart, wait, and write what became of it into ``result``."""


class EngineMethod(ControllerMethod):
    """In place, by the Docker engine that the controller talks to."""

    def __init__(self, runtime: Runtime, parameters: t.Mapping[str, t.Any], remote: Remote) -> None:
        super().__init__(runtime, parameters, remote)
        if not runtime.container:
            raise InvalidInputError("which container is to be restarted is not known: give the option container")
        self._container = runtime.container
        self._options = docker_engine.EngineOptions.from_parameters(parameters)

    def _ensure_possible(self) -> None:
        self._client = docker_engine.connect(self._options)
        self._before = self._look()

    def _look(self) -> t.Mapping[str, t.Any]:
        return state_of(docker_engine.inspect_container(self._client, self._options, self._container))

    def _restart(self, pending: dict[str, str], result: dict[str, t.Any]) -> None:
        readiness = ContainerReadiness(self._container, str(self._before.get("StartedAt") or ""), self._parameters["settle"], _OUT_OF_REACH)
        docker_engine.restart_container(self._client, self._options, self._container, self._parameters["stop_timeout"])
        waited = wait_until_ready(self._look, readiness, self._wait_timeout(IN_PLACE_TIMEOUT))
        result.update(restarted=True, waited=waited, started_at=readiness.started_at)
        self._confirm(pending, result)


class HostMethod(Method):
    """In place, from the EC2 host on which the runtime runs: everything in one remote execution."""

    def run(self, check_mode: bool) -> dict[str, t.Any]:
        """As :meth:`ControllerMethod.run`, but the host does it all, dry run included."""
        answer = self._remote(
            self._request(
                host_restart.OPERATION,
                container=self._runtime.container,
                unit=self._runtime.unit,
                force=self._parameters["force"],
                dry_run=check_mode,
                wait_timeout=self._wait_timeout(IN_PLACE_TIMEOUT),
                settle=self._parameters["settle"],
                stop_timeout=self._parameters["stop_timeout"],
            )
        )
        self._warnings += answer.pop("problems")
        return self._result(changed=answer.pop("needed"), **answer)


class PlatformMethod(ControllerMethod):
    """By the platform. Afterwards the workspace may be elsewhere, so the receipts are confirmed later, by whoever has looked it up again."""

    def __init__(self, runtime: Runtime, parameters: t.Mapping[str, t.Any], remote: Remote) -> None:
        super().__init__(runtime, parameters, remote)
        if not runtime.workspace_id:
            raise InvalidInputError("which workspace the platform shall restart is not known: give the option workspace_id")
        self._workspace_id = runtime.workspace_id
        self._platform = Platform(PlatformOptions.from_parameters(parameters))

    def _ensure_possible(self) -> None:
        self._platform.ensure_restartable(self._workspace_id)

    def _restart(self, pending: dict[str, str], result: dict[str, t.Any]) -> None:
        self._platform.restart(self._workspace_id)
        waited = self._platform.wait_until_online(self._workspace_id, self._wait_timeout(PLATFORM_TIMEOUT))
        result.update(restarted=True, waited=waited, awaiting_confirmation=pending)


class NoMethod(Method):
    """No restart: says what waits for one, and confirms the installs (``confirm``) that a restart made otherwise has covered."""

    def run(self, check_mode: bool) -> dict[str, t.Any]:
        """Only what is still pending as asked is confirmed: a newer install waits for its own restart."""
        pending = self._pending()
        covered = {name: install_id for name, install_id in (self._parameters.get("confirm") or {}).items() if pending.get(name) == install_id}
        result = self._result(restart_pending=sorted(pending), changed=bool(covered))
        if not check_mode:
            self._confirm(covered, result)
        return result


def run(parameters: t.Mapping[str, t.Any], backend: t.Mapping[str, t.Any] | None, remote: Remote, check_mode: bool) -> dict[str, t.Any]:
    """Do what the task's validated ``parameters`` say, with ``backend`` (the fact ``workspace_backend``) for what they leave open.

    Returns the task's result; raises :class:`WorkspaceError`, after which the receipts still say ``restart_pending``.
    """
    if parameters.get("confirm") and parameters["method"] != "none":
        raise InvalidInputError("confirm says that a restart has already happened: use it with method 'none' only")
    runtime = Runtime.resolve(parameters, backend)
    in_place = EngineMethod if runtime.tier == "docker" else HostMethod
    method = {"in_place": in_place, "platform": PlatformMethod, "none": NoMethod}[parameters["method"]]
    return method(runtime, parameters, remote).run(check_mode)
