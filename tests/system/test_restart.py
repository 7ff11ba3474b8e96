# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One restart where one is owed, none otherwise, and success only when the runtime is really back."""
from __future__ import annotations

import json
import pathlib
from collections.abc import Callable

import pytest
import yaml
from ansible_run import Run
from expected import wanted
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from workspaces import both_tiers, platform_variables

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
RESTART = "molecule_ai.workspace.restart"


def pending(lab: Lab, workspace: str, plugin: str) -> bool:
    """What the receipt says, read from outside."""
    content = lab.read_file(workspace, f".molecule_ai/receipts/{plugin}.json")
    assert content is not None
    return bool(json.loads(content)["restart_pending"])


@both_tiers
def test_a_restart_that_was_put_off_is_owed_until_it_happened(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    starts = len(lab.starts(workspace))
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc")}
    ansible(INSTALL, limit=workspace, variables={**variables, "restart_method": "none"}).ok()
    assert len(lab.starts(workspace)) == starts and pending(lab, workspace, "ecc")

    predicted = ansible(RESTART, limit=workspace, check=True).ok()
    assert predicted.stats[workspace]["changed"] == 1
    assert len(lab.starts(workspace)) == starts and pending(lab, workspace, "ecc")

    # the same desired state again: nothing to send, but the restart is still owed
    second = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert second.result("molecule_plugin", workspace)["changed"] is False
    assert second.result("molecule_plugin", workspace)["restart_required"] is True
    assert len(lab.starts(workspace)) == starts + 1 and not pending(lab, workspace, "ecc")
    assert lab.loaded_names(workspace) == ["ecc"]

    third = ansible(RESTART, limit=workspace).ok()
    assert third.stats[workspace]["changed"] == 0 and len(lab.starts(workspace)) == starts + 1


@both_tiers
def test_a_runtime_that_does_not_come_back_is_a_failure_and_stays_owed(lab: Lab, ansible: Callable[..., Run], workspace: str, tmp_path: pathlib.Path) -> None:
    write_tree(tmp_path / "breaker", {"plugin.yaml": manifest("breaker", "1.0.0", "Keeps the runtime from starting"), "runtime-refuses-to-start": ""})
    run = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(tmp_path, "breaker"), "restart_wait_timeout": 15})
    assert run.returncode != 0
    assert run.stats[workspace]["failures"] == 1
    (message,) = [record["result"]["msg"] for record in run.records if record["status"] == "failed"]
    assert "\n" not in message and "docker logs" in message
    assert pending(lab, workspace, "breaker")


@pytest.mark.parametrize("workspace", ["gamma"], indirect=True)
def test_a_health_check_is_waited_for(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path) -> None:
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "ecc")}).ok()
    assert lab.runtime(workspace).attrs["State"]["Health"]["Status"] == "healthy"
    write_tree(tmp_path / "sick", {"plugin.yaml": manifest("sick", "1.0.0", "Never healthy"), "runtime-stays-unhealthy": ""})
    run = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(tmp_path, "sick"), "restart_wait_timeout": 8})
    assert run.returncode != 0 and pending(lab, workspace, "sick")


@pytest.mark.parametrize("workspace", ["eic-bare"], indirect=True)
def test_a_runtime_on_the_bare_host_is_restarted_as_a_service(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    starts = len(lab.starts(workspace))
    run = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "ecc")}).ok()
    assert run.result("workspace_restart", workspace)["restarted"] is True
    assert len(lab.starts(workspace)) == starts + 1 and lab.loaded_names(workspace) == ["ecc"]
    assert not pending(lab, workspace, "ecc")


@both_tiers
def test_a_forced_restart_happens_without_a_reason(lab: Lab, ansible: Callable[..., Run], workspace: str) -> None:
    starts = len(lab.starts(workspace))
    ansible(RESTART, limit=workspace, variables={"workspace_restart_force": True}).ok()
    assert len(lab.starts(workspace)) == starts + 1


def platform(lab: Lab) -> dict[str, str]:
    """The variables for restarts by the platform."""
    return {"restart_method": "platform", **platform_variables(lab)}


def test_a_platform_restart_of_a_container_keeps_the_plugins(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    before = lab.runtime(workspace).id
    run = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "ecc"), **platform(lab)}).ok()
    assert lab.runtime(workspace).id != before
    assert lab.loaded_names(workspace) == ["ecc"]
    assert lab.world.data["platform"]["admin_token"] not in run.output


@pytest.mark.parametrize("workspace", ["eic-langgraph"], indirect=True)
def test_a_platform_restart_of_an_instance_loses_the_plugins_and_says_so(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, plugin_inventory: pathlib.Path
) -> None:
    """Where the inventory has the old instance, as what it found and as the id that somebody wrote, the play goes on with the new one."""
    before = lab.world.instance_of(lab.world.workspace(workspace))["instance_id"]
    (plugin_inventory.parent / "host_vars").mkdir()
    (plugin_inventory.parent / "host_vars" / f"{workspace}.yml").write_text(f"workspace_instance_id: {before}\n")
    again = [{"ansible.builtin.include_role": {"name": "molecule_ai.workspace.backend"}}, {"ansible.builtin.command": "id -u", "changed_when": False}]
    install = [{"ansible.builtin.include_role": {"name": "molecule_ai.workspace.plugins"}}]
    play = plugin_inventory.parent / "play.yml"
    play.write_text(yaml.safe_dump([{"hosts": "workspaces", "gather_facts": False, "tasks": [{"block": install, "rescue": again}]}]), encoding="utf-8")
    run = ansible(play, inventory=plugin_inventory, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "ecc"), **platform(lab)})
    after = lab.world.reload().instance_of(lab.world.workspace(workspace))["instance_id"]
    (message,) = [record["result"]["msg"] for record in run.records if record["status"] == "failed"]
    assert "has drifted during its restart by the platform, which on the SaaS gives it a new disk (ecc missing)" in message, run.output
    looked = [result["ansible_facts"]["workspace_backend"]["instance_id"] for result in run.results("workspace_backend_facts", workspace)]
    assert looked == [before, after, after] and before != after
    assert [result["stdout"] for result in run.results("command", workspace)] == ["0"], run.output


def test_a_paused_ancestor_is_a_clear_answer(lab: Lab, ansible: Callable[..., Run], workspace: str) -> None:
    lab.fault("platform_ancestor_paused")
    run = ansible(RESTART, limit=workspace, variables={"workspace_restart_force": True, **platform(lab)})
    assert run.returncode != 0 and "paused" in run.output
    assert lab.world.data["platform"]["admin_token"] not in run.output
