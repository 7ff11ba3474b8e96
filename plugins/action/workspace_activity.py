# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: options of ``workspace_activity`` -> the platform's API -> ``activity``. It runs on the controller and connects to no workspace."""
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils.errors import WorkspaceError
from ..module_utils.names import validate_workspace_id
from ..module_utils.platform_arguments import PLATFORM_ARGUMENT_SPEC
from ..plugin_utils import activity, platform_api, task_data

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {"workspace_id": {"type": "str", "required": True}, **PLATFORM_ARGUMENT_SPEC}


class ActionModule(ActionBase):
    """Asks the platform whether a workspace is at work."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the activity; every failure is one sentence."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            _validation, validated = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
            parameters = task_data.plain(validated)
            platform = platform_api.Platform(platform_api.PlatformOptions.from_parameters(parameters))
            workspace = platform.workspace(validate_workspace_id(parameters["workspace_id"]))
            result.update(changed=False, **activity.activity(workspace))
        except (WorkspaceError, AnsibleActionFail) as error:
            raise task_data.failure(error) from None
        return result
