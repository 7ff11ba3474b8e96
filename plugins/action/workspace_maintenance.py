# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: options of ``workspace_maintenance`` -> ``maintenance`` -> facts. It runs on the controller and connects to no workspace."""
from __future__ import annotations

import typing as t

from ..module_utils.engine_arguments import ENGINE_ARGUMENT_SPEC
from ..module_utils.errors import WorkspaceError
from ..plugin_utils import docker_engine, maintenance, task_data
from ..plugin_utils.controller_action import ControllerAction

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "container": {"type": "str"},
    "config_dir": {"type": "path"},
    "after_failed_restart": {"type": "bool", "default": False},
    **ENGINE_ARGUMENT_SPEC,
}


class ActionModule(ControllerAction):
    """Opens or closes the way into a container that does not stay up."""

    _requires_connection = False

    def answer(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the changed fact ``workspace_backend``."""
        backend = task_data.backend_fact(task_vars, self._templar.template)
        # As workspace_restart: the engine that the workspace was found on, unless the task says something else about an engine.
        self._task.args = docker_engine.with_engine_of(backend.get("engine"), self._task.args)
        return self._maintain(self.parameters(ARGUMENT_SPEC), backend)

    def _maintain(self, parameters: dict[str, t.Any], backend: dict[str, t.Any]) -> dict[str, t.Any]:
        stopped = maintenance.Stopped.resolve(parameters, backend)
        options = docker_engine.EngineOptions.from_parameters(parameters)
        opens = parameters["state"] == "present"
        if self._task.check_mode:
            if opens:
                raise WorkspaceError(
                    f"container {stopped.container} is not running, so nobody can look into it in check mode, which starts nothing: run without check mode"
                )
            return _told(maintenance.close_container(stopped, options, dry_run=True))
        if opens:
            maintenance.open_container(stopped, options)
        told = {"changed": True} if opens else _told(maintenance.close_container(stopped, options))
        return {**told, "ansible_facts": {"workspace_backend": maintenance.fact(stopped, backend, options, opens)}}


def _told(closed: maintenance.Closed) -> dict[str, t.Any]:
    return {"changed": closed.changed, **({"warnings": [closed.left]} if closed.left else {})}
