# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``workspace_restart``: options in, ``plugin_utils.restart`` does it, result out."""
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..module_utils import host_restart
from ..module_utils.errors import WorkspaceError
from ..module_utils.restart_options import ARGUMENT_SPEC, MUTUALLY_EXCLUSIVE
from ..plugin_utils import docker_engine, restart, task_data
from ..plugin_utils.run_cache import RunCache
from ..plugin_utils.workspace_call import WorkspaceCall, repeated


class ActionModule(ActionBase):
    """Runs on the controller; asks the workspace through its own connection."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the task's result; every failure is one sentence."""
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}

        def remote(request: dict[str, t.Any]) -> dict[str, t.Any]:
            call = WorkspaceCall(self, task_vars, RunCache.of_run())

            def ask() -> dict[str, t.Any]:
                return call.ask("molecule_ai.workspace.workspace_restart", "host_restart", request)

            # To read receipts, or to confirm them by their ids, does the same when it is done twice; to restart does not.
            return ask() if request["operation"] == host_restart.OPERATION else repeated(ask)

        try:
            backend = task_data.backend_fact(task_vars, self._templar.template)
            # The engine that the workspace was found on is the one that restarts it, unless the task says something else about an engine.
            self._task.args = docker_engine.with_engine_of(backend.get("engine"), self._task.args)
            _validation, parameters = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC, mutually_exclusive=MUTUALLY_EXCLUSIVE)
            result.update(restart.run(task_data.plain(parameters), backend, remote, self._task.check_mode))
        except (WorkspaceError, AnsibleActionFail) as error:
            raise task_data.failure(error) from None
        except AnsibleConnectionFailure as error:
            raise task_data.unreachable(error) from None
        return result
