# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter: options and the fact in, requests to the workspace, one sentence on every refusal, and documentation that says what the code does."""
from __future__ import annotations

import typing as t
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.playbook.task import Task
from ansible_collections.molecule_ai.workspace.plugins.action import workspace_restart as action
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import docker_engine as docker_engine_fragment
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import platform as platform_fragment
from ansible_collections.molecule_ai.workspace.plugins.module_utils.request_module import REQUEST_ARGUMENT_SPEC
from ansible_collections.molecule_ai.workspace.plugins.module_utils.restart_options import ARGUMENT_SPEC
from ansible_collections.molecule_ai.workspace.plugins.modules import workspace_restart as module
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import docker_engine, workspace_call

FACT = {
    "tier": "eic",
    "workspace_id": "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b",
    "config_dir": "/opt/configs",
    "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None},
    "engine": {"docker_host": "tcp://192.0.2.1:2376", "validate_certs": True, "ca_path": "/srv/ca.pem", "timeout": 5},
}
DONE = {"needed": True, "restarted": True, "waited": 2.0, "started_at": "two", "cleared": ["ecc"], "restart_pending": [], "problems": []}


class Execution:
    """Stands in for the execution of the module on the workspace."""

    def __init__(self, answer: dict[str, t.Any]) -> None:
        self.answer = answer
        self.requests: list[dict[str, t.Any]] = []

    def __call__(self, module_name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        assert module_name == "molecule_ai.workspace.workspace_restart"
        self.requests.append(module_args["_request"])
        return self.answer


@pytest.fixture(autouse=True)
def fixture_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Docker variables but the test's own."""
    for name in ("DOCKER_HOST", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)


def run(
    execution: Execution, task_vars: dict[str, t.Any], check_mode: bool = False, remote_tmp: str = "~/.ansible/tmp", **arguments: t.Any
) -> dict[str, t.Any]:
    """Run the action as a task does."""
    task = mock.MagicMock(spec=Task, args=arguments, async_val=0, check_mode=check_mode, action="workspace_restart", environment=None)
    templar = mock.MagicMock()
    templar.template = lambda value: value
    plugin = action.ActionModule(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), templar, mock.MagicMock())
    plugin._load_name = "workspace_restart"  # as the plugin loader of ansible-core does
    plugin._connection._shell.get_option = {"remote_tmp": remote_tmp}.__getitem__
    plugin._execute_module = execution
    return plugin.run(task_vars=task_vars)


@pytest.mark.parametrize("task_vars", [{"workspace_backend": FACT}, {"ansible_facts": {"workspace_backend": FACT}}])
@pytest.mark.parametrize("check_mode", [False, True])
def test_the_fact_says_what_to_restart(task_vars: dict[str, t.Any], check_mode: bool) -> None:
    execution = Execution({"changed": False, "result": dict(DONE, restarted=not check_mode)})
    result = run(execution, task_vars, check_mode)
    [request] = execution.requests
    assert (request["operation"], request["container"], request["config_dir"]) == ("restart_host", "molecule-workspace", "/opt/configs")
    assert request["dry_run"] is check_mode
    assert (result["changed"], result["restarted"], result["cleared"]) == (True, not check_mode, ["ecc"])


def test_root_does_not_work_by_path_in_the_agents_directory() -> None:
    execution = Execution({"result": DONE})
    for remote_tmp in ("/opt/configs/tmp", "$HOME/configs"):
        with pytest.raises(AnsibleActionFail, match="the workspace's agent could exchange what root executes"):
            run(execution, {"workspace_backend": FACT}, remote_tmp=remote_tmp)
    assert execution.requests == []


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        ({}, docker_engine.EngineOptions("tcp://192.0.2.1:2376", validate_certs=True, ca_path="/srv/ca.pem", timeout=5)),
        ({"timeout": 7}, docker_engine.EngineOptions("tcp://192.0.2.1:2376", validate_certs=True, ca_path="/srv/ca.pem", timeout=7)),
        ({"docker_host": "unix:///a.sock"}, docker_engine.EngineOptions("unix:///a.sock")),
        ({"docker_url": "unix:///a.sock"}, docker_engine.EngineOptions("unix:///a.sock")),
    ],
)
def test_the_engine_is_the_one_the_workspace_was_found_on(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, t.Any], used: docker_engine.EngineOptions
) -> None:
    asked: list[docker_engine.EngineOptions] = []

    def connect(options: docker_engine.EngineOptions) -> None:
        asked.append(options)
        raise docker_engine.EngineError("stop here")

    monkeypatch.setattr(docker_engine, "connect", connect)
    execution = Execution({"result": {"restart_pending": {"ecc": "1"}, "problems": []}})
    with pytest.raises(AnsibleActionFail, match="stop here"):
        run(execution, {"workspace_backend": {**FACT, "tier": "docker"}}, **arguments)
    assert asked == [used]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"_request": {}}, "_request"),
        ({"method": "reboot"}, "method"),
        ({"container": "a", "unit": "a.service"}, "mutually exclusive"),
        ({"container": "$(id)"}, "$(id)"),
        ({"tier": "external"}, "cannot be restarted from here"),
    ],
)
def test_refusals_touch_nothing(arguments: dict[str, t.Any], part: str) -> None:
    execution = Execution({})
    with pytest.raises(AnsibleActionFail) as caught:
        run(execution, {"workspace_backend": FACT}, **arguments)
    assert part in str(caught.value)
    assert execution.requests == []


def test_what_the_workspace_says_is_the_failure() -> None:
    with pytest.raises(AnsibleActionFail, match="container x did not come back"):
        run(Execution({"failed": True, "msg": "container x did not come back"}), {"workspace_backend": FACT})


def test_unreachable_is_unreachable() -> None:
    with pytest.raises(AnsibleConnectionFailure):
        run(Execution({"unreachable": True, "msg": "no route"}), {"workspace_backend": FACT})


def test_documentation_names_every_option_and_every_result() -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    for fragment in (docker_engine_fragment, platform_fragment):
        documented |= yaml.safe_load(fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert set(documented) == {*ARGUMENT_SPEC, *REQUEST_ARGUMENT_SPEC}
    for name, specification in ARGUMENT_SPEC.items():
        assert documented[name]["type"] == specification["type"]
        assert documented[name].get("default") == specification.get("default")
    returned = run(Execution({"result": dict(DONE)}), {"workspace_backend": FACT})
    assert set(yaml.safe_load(module.RETURN)) == set(returned) - {"changed"}


NOTHING = {"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": ""}


def test_receipts_are_asked_for_again_when_the_answer_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_call, "PAUSES", (0, 0, 0))
    answers = [NOTHING, {"result": {"restart_pending": {"ecc": "1" * 32}, "problems": []}}, NOTHING, {"result": {"cleared": ["ecc"], "restart_pending": []}}]
    execution = Execution(NOTHING)

    def answer(module_name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        execution(module_name, module_args, task_vars)
        return answers.pop(0)

    result = run(t.cast(Execution, answer), {"workspace_backend": FACT}, method="none", confirm={"ecc": "1" * 32})
    assert result["cleared"] == ["ecc"] and answers == []
    assert [request["operation"] for request in execution.requests] == ["pending_restarts"] * 2 + ["confirm_restart"] * 2


def test_a_restart_whose_answer_was_lost_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_call, "PAUSES", (0, 0, 0))
    execution = Execution(NOTHING)
    with pytest.raises(AnsibleActionFail, match="ended on the workspace without an answer"):
        run(execution, {"workspace_backend": FACT})
    assert len(execution.requests) == 1
