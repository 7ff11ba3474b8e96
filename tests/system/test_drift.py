# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode is the audit: every kind of difference is found and named, nothing is touched, and it predicts the real run."""
from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from ansible_run import Run
from expected import expected_items, wanted
from lab.api import Lab
from workspaces import both_tiers

INSTALL = "molecule_ai.workspace.install"
AUDIT = "molecule_ai.workspace.audit"
PLUGIN = "careful-bash"
LIVE = f"plugins/{PLUGIN}"


@pytest.fixture
def installed(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> dict[str, object]:
    """The variables with which the plugin was installed on the workspace."""
    variables = {"workspace_plugins": wanted(plugin_sources, PLUGIN)}
    ansible(INSTALL, limit=workspace, variables=variables).ok()
    return variables


def tamper(lab: Lab, workspace: str, kind: str) -> str:
    """Make one difference of this kind and return the path that an audit has to name."""
    root = f"{lab.config_dir(workspace)}/{LIVE}"
    if kind == "modified":
        lab.write_file(workspace, f"{LIVE}/rules/careful-bash.md", "tampered\n")
        return "rules/careful-bash.md"
    if kind == "missing":
        lab.remove(workspace, f"{LIVE}/commands/careful.md")
        return "commands/careful.md"
    if kind == "extra":
        lab.write_file(workspace, f"{LIVE}/rules/planted.md", "planted\n")
        return "rules/planted.md"
    if kind == "owner":
        assert lab.exec(workspace, "chown", "0:0", f"{root}/plugin.yaml").status == 0
        return "plugin.yaml"
    assert kind == "mode"
    assert lab.exec(workspace, "chmod", "0644", f"{root}/hooks/guard-bash.sh").status == 0
    return "hooks/guard-bash.sh"


@both_tiers
@pytest.mark.parametrize("kind", ["modified", "missing", "extra", "owner", "mode"])
def test_each_kind_of_drift_is_named_and_repaired(
    lab: Lab, ansible: Callable[..., Run], workspace: str, installed: dict[str, object], plugin_sources: pathlib.Path, kind: str
) -> None:
    path = tamper(lab, workspace, kind)
    before, starts = lab.snapshot(workspace), len(lab.starts(workspace))

    audit = ansible(AUDIT, limit=workspace, variables=installed).ok()
    drift = audit.result("molecule_plugin", workspace)["drift"]
    assert [(item["plugin"], item["kind"], item["path"]) for item in drift] == [(PLUGIN, kind, path)]
    assert path in audit.output
    assert lab.snapshot(workspace) == before
    assert len(lab.starts(workspace)) == starts

    predicted = ansible(INSTALL, limit=workspace, variables=installed, check=True, diff=True).ok()
    assert lab.snapshot(workspace) == before and len(lab.starts(workspace)) == starts
    real = ansible(INSTALL, limit=workspace, variables=installed, diff=True).ok()
    assert predicted.stats[workspace]["changed"] == real.stats[workspace]["changed"] > 0
    for key in ("drift", "restart_required", "changed"):
        assert predicted.result("molecule_plugin", workspace)[key] == real.result("molecule_plugin", workspace)[key], key
    assert lab.snapshot(workspace, LIVE) == expected_items(plugin_sources / PLUGIN)
    assert ansible(AUDIT, limit=workspace, variables=installed).ok().result("molecule_plugin", workspace)["drift"] == []


def test_a_file_cannot_be_named_so_that_the_audit_lists_something_else(
    lab: Lab, ansible: Callable[..., Run], workspace: str, installed: dict[str, object]
) -> None:
    lab.write_file(workspace, f"{LIVE}/rules/x\n{workspace} no drift", "planted\n")
    run = ansible(AUDIT, limit=workspace, variables=installed).ok()
    [lines] = [result["msg"] for result in run.results("debug", workspace) if isinstance(result["msg"], list)]
    assert lines == [f"{workspace} {PLUGIN} extra rules/x\\n{workspace} no drift"]


@both_tiers
def test_diff_shows_text_line_by_line(lab: Lab, ansible: Callable[..., Run], workspace: str, installed: dict[str, object]) -> None:
    tamper(lab, workspace, "modified")
    run = ansible(INSTALL, limit=workspace, variables=installed, check=True, diff=True).ok()
    assert "-tampered" in run.output
    assert "+Before a command that deletes, overwrites or publishes:" in run.output


@both_tiers
def test_check_mode_before_the_first_install_touches_nothing(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    before, starts = lab.snapshot(workspace), len(lab.starts(workspace))
    run = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, PLUGIN)}, check=True, diff=True).ok()
    result = run.result("molecule_plugin", workspace)
    assert result["changed"] and result["restart_required"] and result["plugins"][0]["action"] == "installed"
    assert lab.snapshot(workspace) == before and len(lab.starts(workspace)) == starts


@both_tiers
def test_an_unmanaged_plugin_directory_is_named_and_left_alone(lab: Lab, ansible: Callable[..., Run], workspace: str, installed: dict[str, object]) -> None:
    lab.write_file(workspace, "plugins/stray/plugin.yaml", "name: stray\n")
    audit = ansible(AUDIT, limit=workspace, variables=installed).ok()
    result = audit.result("molecule_plugin", workspace)
    assert result["unmanaged"] == ["stray"]
    assert [(item["plugin"], item["kind"]) for item in result["drift"]] == [("stray", "unmanaged")]
    assert ansible(INSTALL, limit=workspace, variables=installed).ok().stats[workspace]["changed"] == 0
    assert lab.read_file(workspace, "plugins/stray/plugin.yaml") == b"name: stray\n"


@both_tiers
def test_an_audit_can_fail_on_drift(lab: Lab, ansible: Callable[..., Run], workspace: str, installed: dict[str, object]) -> None:
    assert ansible(AUDIT, limit=workspace, variables={**installed, "workspace_audit_fail_on": ["drift"]}).returncode == 0
    tamper(lab, workspace, "modified")
    assert ansible(AUDIT, limit=workspace, variables={**installed, "workspace_audit_fail_on": ["drift"]}).returncode != 0


def test_an_audit_never_calls_a_workspace_fine_that_it_could_not_look_at(lab: Lab, ansible: Callable[..., Run], plugin_sources: pathlib.Path) -> None:
    run = ansible(AUDIT, limit="stopped,unknown", variables={"workspace_plugins": wanted(plugin_sources, PLUGIN)})
    assert run.returncode != 0
    assert run.stats["stopped"]["failures"] == 1 and run.stats["unknown"]["failures"] == 1
    states = [result["msg"][0].split()[:2] for result in run.results("debug") if isinstance(result["msg"], list)]
    assert sorted(states) == [["stopped", "none"], ["unknown", "unknown"]]
