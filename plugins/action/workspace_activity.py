# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: options of ``workspace_activity`` -> the platform's API -> ``activity``. It runs on the controller and connects to no workspace."""
from __future__ import annotations

import typing as t

from ..module_utils.names import validate_workspace_id
from ..module_utils.platform_arguments import PLATFORM_ARGUMENT_SPEC
from ..plugin_utils import activity, platform_api
from ..plugin_utils.controller_action import ControllerAction

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {"workspace_id": {"type": "str", "required": True}, **PLATFORM_ARGUMENT_SPEC}


class ActionModule(ControllerAction):
    """Asks the platform whether a workspace is at work."""

    _requires_connection = False

    def answer(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the activity."""
        parameters = self.parameters(ARGUMENT_SPEC)
        platform = platform_api.Platform(platform_api.PlatformOptions.from_parameters(parameters))
        workspace = platform.workspace(validate_workspace_id(parameters["workspace_id"]))
        return {"changed": False, **activity.activity(workspace)}
