# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A way into the volumes of a workspace's container that does not stay up, so that the plugin that keeps it down can be rolled back.

Nothing can be executed in a container that has exited or that starts again and again. A *maintenance container* of the same image and with the
same volumes can be entered: it has no network, none of the workspace's labels or environment, runs nothing but a clock, and ends and removes
itself after an hour, should nobody be left to do it. Its labels say which run has started it, so that others can tell whether that one is still at work.
"""
from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from ansible import constants as C

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.names import validate_config_dir, validate_container_name
from . import connection_variables, docker_engine, processes, this_run

if t.TYPE_CHECKING:
    from docker import APIClient

LABEL = "molecule_ai.workspace.maintenance-of"
RUN_LABEL = "molecule_ai.workspace.maintenance-run"
"""The name of the private directory of the run that has started it."""
PROCESS_LABEL = "molecule_ai.workspace.maintenance-process"
"""The name of that run's process, as ``processes`` gives it."""
LIFETIME = 3600
"""Seconds."""
PATIENCE = 60
"""Seconds for which another run's maintenance is waited for."""

_PREFIX = "molecule-maintenance-"
_STOPPED_ON_PURPOSE = (0, 137, 143)
"""Exit codes of a container that somebody has stopped: ended well, killed, asked to end."""


@dataclasses.dataclass(frozen=True)
class Stopped:
    """The workspace whose container is down. ``after_failed_restart``: we have just restarted it ourselves, so nobody has stopped it on purpose."""

    container: str
    config_dir: str
    after_failed_restart: bool

    @classmethod
    def resolve(cls, parameters: t.Mapping[str, t.Any], backend: t.Mapping[str, t.Any]) -> Stopped:
        """From the task's options, or else from the fact ``workspace_backend``; raises :class:`InvalidInputError`."""
        stopped = backend.get("stopped") or {}
        container = parameters.get("container") or stopped.get("container") or backend.get("container")
        config_dir = parameters.get("config_dir") or stopped.get("config_dir") or backend.get("config_dir")
        if not container or not config_dir:
            raise InvalidInputError(
                "which container is to be maintained is not known: run molecule_ai.workspace.workspace_backend_facts before, or give container and config_dir"
            )
        return cls(validate_container_name(container), validate_config_dir(config_dir), bool(parameters.get("after_failed_restart")))

    @property
    def maintenance_container(self) -> str:
        """The name of the maintenance container."""
        return _PREFIX + self.container


class Closed(t.NamedTuple):
    """``changed``: the maintenance container was removed, or would be; ``left``: why the one that is there was not, empty without one."""

    changed: bool
    left: str


def open_container(stopped: Stopped, options: docker_engine.EngineOptions) -> None:
    """Create and start the maintenance container; what a run that has ended left of its own is removed before, and a living run's is waited for.

    Raises :class:`WorkspaceError`, also for a container that was stopped on purpose, and for one that another run goes on to maintain.
    """
    client = docker_engine.connect(options)
    try:
        for second in range(PATIENCE + 1):
            if second:
                time.sleep(1)
            if _try_to_open(client, stopped, options):
                return
            # It may have been removed meanwhile, also by us.
            if _close(client, stopped, options, _is_abandoned).changed and _try_to_open(client, stopped, options):
                return
        raise WorkspaceError(
            f"container {stopped.container} is being maintained by another run (container {stopped.maintenance_container}), and still was after {PATIENCE} s: "
            f"wait until it is done; if that run has died on another controller, 'docker rm -f {stopped.maintenance_container}' and run again"
        )
    finally:
        client.close()


def close_container(stopped: Stopped, options: docker_engine.EngineOptions, dry_run: bool = False) -> Closed:
    """Remove the maintenance container of this run, or of one that has ended; another one's is left alone. ``dry_run``: only say what would be done.

    Raises :class:`WorkspaceError`.
    """
    client = docker_engine.connect(options)
    try:
        return _close(client, stopped, options, lambda labels: _is_own(labels) or _is_abandoned(labels), dry_run)
    finally:
        client.close()


def _try_to_open(client: APIClient, stopped: Stopped, options: docker_engine.EngineOptions) -> bool:
    """Create and start the maintenance container; False when there is one already."""
    description = docker_engine.inspect_container(client, options, stopped.container)
    if not stopped.after_failed_restart:
        _require_failure(stopped.container, description["State"])
    image = docker_engine.inspect_image(client, options, description["Image"])
    labels = {
        # Labels of the image are inherited; emptied, nothing takes this container for a workspace.
        **dict.fromkeys((image.get("Config") or {}).get("Labels") or {}, ""),
        LABEL: stopped.container,
        RUN_LABEL: _own_run(),
        PROCESS_LABEL: processes.name_of(this_run.process()),
    }
    this_run.require_alive()
    try:
        docker_engine.run_beside(client, options, stopped.maintenance_container, stopped.container, description["Image"], labels, LIFETIME)
    except docker_engine.ContainerExistsError:
        return False
    return True


def _close(
    client: APIClient, stopped: Stopped, options: docker_engine.EngineOptions, may_go: t.Callable[[t.Mapping[str, str]], bool], dry_run: bool = False
) -> Closed:
    """Remove the maintenance container if its labels say that it ``may_go``; by its id, because another one may have its name by then."""
    try:
        description = docker_engine.inspect_container(client, options, stopped.maintenance_container)
    except docker_engine.ContainerNotFoundError:
        return Closed(False, "")
    labels = description["Config"].get("Labels") or {}
    if labels.get(LABEL) != stopped.container or not may_go(labels):
        return Closed(False, f"container {stopped.maintenance_container} is another run's, which may still be at work: it was left alone")
    return Closed(dry_run or docker_engine.remove_container(client, options, description["Id"]), "")


def _own_run() -> str:
    return os.path.basename(os.path.abspath(str(C.DEFAULT_LOCAL_TMP)))


def _is_own(labels: t.Mapping[str, str]) -> bool:
    return labels.get(RUN_LABEL) == _own_run()


def _is_abandoned(labels: t.Mapping[str, str]) -> bool:
    return processes.is_over(labels.get(PROCESS_LABEL) or "")


def fact(stopped: Stopped, backend: t.Mapping[str, t.Any], options: docker_engine.EngineOptions, opened: bool) -> dict[str, t.Any]:
    """The fact ``workspace_backend`` for as long as the maintenance container is there (``opened``), and after that."""
    connected_to = stopped.maintenance_container if opened else stopped.container
    return {
        **backend,
        "tier": "docker",
        "lookup": "found",
        "reason": f"container {stopped.container} is reached through {connected_to}" if opened else f"container {stopped.container} was maintained",
        "container": stopped.container,
        "config_dir": stopped.config_dir,
        "runtime_config_dir": stopped.config_dir,
        "restart": {"method": "docker_engine", "container": stopped.container, "unit": None},
        "engine": options.as_parameters(),
        "connection": connection_variables.docker(connected_to, options),
        "maintenance": stopped.maintenance_container if opened else None,
    }


def _require_failure(container: str, state: t.Mapping[str, t.Any]) -> None:
    """Raise :class:`WorkspaceError` unless the container is down although nobody has stopped it: starting it is what comes next."""
    if state.get("Restarting"):
        return
    if state.get("Running"):
        raise WorkspaceError(f"container {container} is running, so it needs no maintenance: run again, it is reached directly")
    if state.get("Status") == "exited" and (state.get("ExitCode") not in _STOPPED_ON_PURPOSE or state.get("OOMKilled")):
        return
    raise WorkspaceError(
        f"container {container} has not failed but is {state.get('Status')} (exit code {state.get('ExitCode')}), so somebody wants it to be down: "
        "start it if that is wrong, and run again"
    )
