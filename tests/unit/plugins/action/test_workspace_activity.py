# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter: one question to the platform, also in check mode, and a sentence for whatever is no answer."""
from __future__ import annotations

import pathlib
import sys
import typing as t
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task
from ansible_collections.molecule_ai.workspace.plugins.action import workspace_activity as action
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import platform as platform_fragment
from ansible_collections.molecule_ai.workspace.plugins.modules import workspace_activity as module

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "plugin_utils"))
from scripted_platform import Server, running

ID = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"


@pytest.fixture
def platform() -> t.Iterator[Server]:
    with running() as server:
        yield server


def run(platform: Server, **arguments: t.Any) -> dict[str, t.Any]:
    """Run the action as a task does."""
    args = {"workspace_id": ID, "platform_url": platform.url, "platform_token": "secret", **arguments}
    task = mock.MagicMock(spec=Task, args=args, async_val=0, check_mode=True, action="workspace_activity", environment=None)
    plugin = action.ActionModule(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock())
    result: dict[str, t.Any] = plugin.run(task_vars={})
    return result


def test_the_answer(platform: Server) -> None:
    platform.will(200, {"id": ID, "status": "online", "active_tasks": 2})
    assert run(platform) == {"changed": False, "busy": True, "active_tasks": 2, "status": "online"}
    ((method, path, _headers),) = platform.requests
    assert (method, path) == ("GET", f"/workspaces/{ID}")


@pytest.mark.parametrize(("status", "body", "arguments", "sentence"), [
    (200, {"id": ID, "status": "online"}, {}, "nobody knows whether it is busy"),
    (401, {"error": "no"}, {}, "check platform_token"),
    (404, None, {}, "platform_org_id is not set"),
    (200, {}, {"workspace_id": "../x"}, "is not a workspace id"),
    (200, {}, {"platform_token": ""}, "set both"),
])
def test_what_is_no_answer(platform: Server, status: int, body: t.Any, arguments: dict[str, str], sentence: str) -> None:
    platform.will(status, body)
    with pytest.raises(AnsibleActionFail, match=sentence) as caught:
        run(platform, **arguments)
    assert "secret" not in str(caught.value)


def test_documentation_names_every_option() -> None:
    documented = {**yaml.safe_load(module.DOCUMENTATION)["options"], **yaml.safe_load(platform_fragment.ModuleDocFragment.DOCUMENTATION)["options"]}
    assert set(documented) == set(action.ARGUMENT_SPEC)
    for name, specification in action.ARGUMENT_SPEC.items():
        assert documented[name]["type"] == specification["type"]
