# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter: the fact in and out, nothing started in check mode, and documentation that says what the code does."""
from __future__ import annotations

import typing as t
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.playbook.task import Task
from ansible_collections.molecule_ai.workspace.plugins.action import workspace_maintenance as action
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import docker_engine as docker_engine_fragment
from ansible_collections.molecule_ai.workspace.plugins.modules import workspace_maintenance as module
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import docker_engine, maintenance

docker = pytest.importorskip("docker")

BACKEND = {
    "tier": "none", "container": None, "config_dir": None, "stopped": {"container": "ws-one", "config_dir": "/configs"},
    "engine": {"docker_host": "tcp://192.0.2.1:2375"},
}


def run(check_mode: bool = False, **arguments: t.Any) -> dict[str, t.Any]:
    """Run the action as a task does."""
    task = mock.MagicMock(spec=Task, args=arguments, async_val=0, check_mode=check_mode, action="workspace_maintenance", environment=None)
    templar = mock.MagicMock()
    templar.template = lambda value: value
    plugin = action.ActionModule(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), templar, mock.MagicMock())
    result: dict[str, t.Any] = plugin.run(task_vars={"ansible_facts": {"workspace_backend": BACKEND}})
    return result


@pytest.fixture(name="calls")
def fixture_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    calls: list[tuple[str, str, str]] = []

    def note(what: str) -> t.Callable[[maintenance.Stopped, docker_engine.EngineOptions], bool]:
        return lambda stopped, options: bool(calls.append((what, stopped.container, options.docker_host))) or True

    monkeypatch.setattr(maintenance, "open_container", note("open"))
    monkeypatch.setattr(maintenance, "close_container", note("close"))
    return calls


def test_it_is_opened_and_closed_on_the_engine_of_the_fact(calls: list[tuple[str, str, str]]) -> None:
    opened, closed = run(), run(state="absent")
    assert calls == [("open", "ws-one", "tcp://192.0.2.1:2375"), ("close", "ws-one", "tcp://192.0.2.1:2375")]
    assert opened["ansible_facts"]["workspace_backend"]["connection"]["ansible_host"] == "molecule-maintenance-ws-one"
    assert closed["ansible_facts"]["workspace_backend"]["connection"]["ansible_host"] == "ws-one"


def test_check_mode_starts_nothing_and_does_not_guess(calls: list[tuple[str, str, str]]) -> None:
    with pytest.raises(AnsibleActionFail, match="ws-one is not running, so nobody can look into it in check mode"):
        run(check_mode=True)
    assert calls == []


@pytest.mark.parametrize("there", [True, False])
def test_check_mode_looks_whether_there_is_something_to_remove(calls: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    client = mock.Mock(**{"inspect_container.side_effect": None if there else docker.errors.NotFound("no such container")})
    monkeypatch.setattr(docker_engine, "connect", lambda options: client)
    predicted = run(check_mode=True, state="absent")
    assert predicted["changed"] is there and "ansible_facts" not in predicted and calls == []
    assert client.inspect_container.mock_calls == [mock.call("molecule-maintenance-ws-one")]


def test_documentation_names_every_option() -> None:
    documented = {
        **yaml.safe_load(module.DOCUMENTATION)["options"], **yaml.safe_load(docker_engine_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    }
    assert set(documented) == set(action.ARGUMENT_SPEC)
    for name, specification in action.ARGUMENT_SPEC.items():
        assert (documented[name]["type"], documented[name].get("choices")) == (specification["type"], specification.get("choices"))
