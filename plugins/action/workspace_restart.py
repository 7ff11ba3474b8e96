# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``workspace_restart``: options in, ``plugin_utils.restart`` does it, result out."""
from __future__ import annotations

import typing as t

from ..module_utils import host_restart
from ..module_utils.restart_options import ARGUMENT_SPEC, MUTUALLY_EXCLUSIVE
from ..plugin_utils import docker_engine, restart, task_data
from ..plugin_utils.controller_action import ControllerAction
from ..plugin_utils.run_cache import RunCache
from ..plugin_utils.workspace_call import WorkspaceCall, repeated


class ActionModule(ControllerAction):
    """Runs on the controller; asks the workspace through its own connection."""

    def answer(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return what became of the restart."""
        backend = task_data.backend_fact(task_vars, self._templar.template)
        # The engine that the workspace was found on is the one that restarts it, unless the task says something else about an engine.
        self._task.args = docker_engine.with_engine_of(backend.get("engine"), self._task.args)
        parameters = self.parameters(ARGUMENT_SPEC, mutually_exclusive=MUTUALLY_EXCLUSIVE)
        call = WorkspaceCall(self, task_vars, RunCache.of_run())

        def remote(request: dict[str, t.Any]) -> dict[str, t.Any]:
            def ask() -> dict[str, t.Any]:
                return call.ask("molecule_ai.workspace.workspace_restart", "host_restart", request)

            # To read receipts, or to confirm them by their ids, does the same when it is done twice; to restart does not.
            return ask() if request["operation"] == host_restart.OPERATION else repeated(ask)

        return restart.run(parameters, backend, remote, self._task.check_mode)
