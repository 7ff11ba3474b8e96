# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter: the fact in and out, nothing started in check mode, and documentation that says what the code does."""
from __future__ import annotations

import typing as t
from unittest import mock

import pytest
import yaml
from ansible import constants as C
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
    monkeypatch.setattr(maintenance, "close_container", lambda stopped, options: maintenance.Closed(note("close")(stopped, options), ""))
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


@pytest.mark.parametrize(("whose", "changed"), [("ours", True), ("another run's", False), (None, False)])
def test_check_mode_looks_whether_there_is_something_to_remove(monkeypatch: pytest.MonkeyPatch, whose: str | None, changed: bool) -> None:
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", "/tmp/ours")
    found = {"Id": "1", "Config": {"Labels": {maintenance.LABEL: "ws-one", maintenance.RUN_LABEL: whose}}}
    client = mock.Mock(**{"inspect_container.side_effect": docker.errors.NotFound("no such container"), "inspect_container.return_value": found})
    if whose is not None:
        client.inspect_container.side_effect = None
    monkeypatch.setattr(docker_engine, "connect", lambda options: client)
    for check_mode in (True, False):
        done = run(check_mode=check_mode, state="absent")
        assert done["changed"] is changed and ("ansible_facts" in done) is not check_mode
        assert bool(done.get("warnings")) is (whose == "another run's")
        assert client.remove_container.called is (changed and not check_mode)
    assert client.inspect_container.mock_calls == [mock.call("molecule-maintenance-ws-one")] * 2


def test_documentation_names_every_option() -> None:
    documented = {
        **yaml.safe_load(module.DOCUMENTATION)["options"], **yaml.safe_load(docker_engine_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    }
    assert set(documented) == set(action.ARGUMENT_SPEC)
    for name, specification in action.ARGUMENT_SPEC.items():
        assert (documented[name]["type"], documented[name].get("choices")) == (specification["type"], specification.get("choices"))
