# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back: by hand, and by itself when a plugin keeps the runtime from starting, also where that leaves the container down."""
from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from ansible_run import Run
from expected import expected_items
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from workspaces import EIC_WORKSPACE, at_work, both_tiers, platform_variables

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
SYNC = "molecule_ai.workspace.sync"
ROLLBACK = "molecule_ai.workspace.rollback"
NAMES = {"workspace_plugin_names": "probe"}


@pytest.fixture(name="versions")
def fixture_versions(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three versions of one plugin; the last keeps the runtime from starting."""
    for version, more in (("1", {}), ("2", {"skills/two/SKILL.md": "two\n"}), ("3", {"runtime-refuses-to-start": ""})):
        tree = {"plugin.yaml": manifest("probe", f"{version}.0.0", "For going back"), "rules/probe.md": f"Version {version}.\n", **more}
        write_tree(tmp_path / version / "probe", tree)
    return tmp_path


def source(versions: pathlib.Path, version: str) -> dict[str, object]:
    return {"workspace_plugins": [{"name": "probe", "source": str(versions / version / "probe")}]}


def memory(lab: Lab, workspace: str) -> str:
    return (lab.read_file(workspace, "CLAUDE.md") or b"").decode()


def maintained(lab: Lab) -> list[str]:
    return [one.name for one in lab.engine.containers.list(all=True) if one.name.startswith("molecule-maintenance-")]


def assert_runs(lab: Lab, workspace: str, versions: pathlib.Path, version: str) -> None:
    """This version is live, byte for byte, loaded, and the only one that the runtime has placed."""
    assert lab.snapshot(workspace, "plugins/probe") == expected_items(versions / version / "probe")
    assert lab.state(workspace) == "running" and lab.loaded_names(workspace) == ["probe"]
    assert memory(lab, workspace).count("Version ") == 1 and f"Version {version}." in memory(lab, workspace)
    assert not maintained(lab)


def failure(run: Run) -> str:
    assert run.returncode != 0, run.output
    message: str = [record["result"]["msg"] for record in run.records if record["status"] == "failed"][-1]
    assert "\n" not in message
    return message


@both_tiers
def test_going_back_by_hand(lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path) -> None:
    for version in ("1", "2"):
        ansible(INSTALL, limit=workspace, variables=source(versions, version)).ok()
    starts = len(lab.starts(workspace))
    predicted = ansible(ROLLBACK, limit=workspace, variables=NAMES, check=True, diff=True).ok()
    assert "-Version 2." in predicted.output and "+Version 1." in predicted.output
    assert len(lab.starts(workspace)) == starts
    done = ansible(ROLLBACK, limit=workspace, variables=NAMES).ok()
    assert done.result("molecule_plugin", workspace)["plugins"] == predicted.result("molecule_plugin", workspace)["plugins"]
    assert len(lab.starts(workspace)) == starts + 1
    assert_runs(lab, workspace, versions, "1")
    again = ansible(ROLLBACK, limit=workspace, variables=NAMES).ok()
    assert again.stats[workspace]["changed"] == 0 and len(lab.starts(workspace)) == starts + 1
    assert "has no previous version" in failure(ansible(ROLLBACK, limit=workspace, variables={"workspace_plugin_names": "probe,other"}))


@both_tiers
def test_a_version_that_keeps_the_runtime_from_starting_is_rolled_back_if_asked_for(
    lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path, plugin_inventory: pathlib.Path
) -> None:
    """On hosts of the inventory plugin, whose connection variables are the inventory's own."""
    ansible(INSTALL, inventory=plugin_inventory, limit=workspace, variables=source(versions, "1")).ok()
    variables = {**source(versions, "3"), "plugins_rollback_on_failed_restart": True, "restart_wait_timeout": 20}
    run = ansible(INSTALL, inventory=plugin_inventory, limit=workspace, variables=variables)
    message = failure(run)
    assert "did not come back with probe upgraded (" in message and "they were rolled back, and it runs again without the change" in message
    assert "molecule_ai.workspace.rollback" not in message and "keep waiting" not in message, message
    assert_runs(lab, workspace, versions, "1")
    assert ansible(ROLLBACK, limit=workspace, variables=NAMES).ok().stats[workspace]["changed"] == 0


def test_what_cannot_be_rolled_back_does_not_keep_the_rest_from_it(
    lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path
) -> None:
    """The container is down: strays that ``exclusive`` took, a repaired plugin, and one whose previous version was tampered with must not keep it there."""
    def wanted(probe: str, other: str) -> dict[str, object]:
        sources = {"probe": versions / probe / "probe", "other": versions / other / "other", "mended": versions / "1" / "mended"}
        return {"workspace_plugins": [{"name": name, "source": str(path)} for name, path in sources.items()]}

    for version in ("1", "2"):
        for name in ("other", "mended"):
            tree = {"plugin.yaml": manifest(name, f"{version}.0.0", "Beside"), f"rules/{name}.md": f"{name} {version}\n"}
            write_tree(versions / version / name, tree)
    ansible(INSTALL, limit=workspace, variables=wanted("1", "1")).ok()
    lab.write_file(workspace, "plugins/mended/rules/mended.md", "damaged\n")
    lab.write_file(workspace, "plugins/.cache/file", "no plugin's name\n")
    lab.write_file(workspace, "plugins/unasked/plugin.yaml", "name: unasked\n")
    for name in ("other", "unasked"):
        assert lab.exec(workspace, "ln", "-s", "plugin.yaml", f"{lab.config_dir(workspace)}/plugins/{name}/link").status == 0
    more = {"plugins_exclusive": True, "plugins_rollback_on_failed_restart": True, "restart_wait_timeout": 20}
    message = failure(ansible(SYNC, limit=workspace, variables={**wanted("3", "2"), **more}))
    assert "did not come back with probe upgraded, other upgraded" in message and "; it runs again since probe went back: correct the list" in message, message
    assert "; not rolled back: other: the previous version of plugin other holds 'link'" in message, message
    assert "; left as they are now: mended repaired, .cache removed, unasked removed" in message, message
    for name, version in (("probe", "1"), ("other", "2"), ("mended", "1")):
        assert lab.snapshot(workspace, f"plugins/{name}") == expected_items(versions / version / name), name
    assert lab.state(workspace) == "running" and lab.loaded_names(workspace) == ["mended", "other", "probe"]


@pytest.mark.parametrize("workspace", [EIC_WORKSPACE], indirect=True)
def test_a_repair_is_not_rolled_back(lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path) -> None:
    """It has changed no version, so going back would undo an earlier change, of which nobody has complained: here the first installation."""
    variables = {**source(versions, "3"), "restart_wait_timeout": 5}
    ansible(INSTALL, limit=workspace, variables={**variables, "restart_method": "none"}).ok()
    for damage in ("plugins/probe/rules/probe.md", "plugins/probe"):
        lab.remove(workspace, damage)
        run = ansible(INSTALL, limit=workspace, variables={**variables, "plugins_rollback_on_failed_restart": True})
        message = failure(run)
        assert [plugin["action"] for plugin in run.result("molecule_plugin", workspace)["plugins"]] == ["repaired"]
        assert "rolled back" not in message, message
        assert lab.snapshot(workspace, "plugins/probe") == expected_items(versions / "3" / "probe")


def test_a_container_that_a_plugin_keeps_down_is_rolled_back_and_started(
    lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path
) -> None:
    ansible(INSTALL, limit=workspace, variables=source(versions, "1")).ok()
    assert "molecule_ai.workspace.rollback" in failure(ansible(INSTALL, limit=workspace, variables={**source(versions, "3"), "restart_wait_timeout": 20}))
    assert "in check mode" in failure(ansible(ROLLBACK, limit=workspace, variables=NAMES, check=True))
    at_work(lab, workspace, 2)
    try:
        run = ansible(ROLLBACK, limit=workspace, variables={**NAMES, "plugins_skip_busy": True, **platform_variables(lab)}).ok()
        assert "left alone, because its agent is working on 2 tasks" in run.output and lab.state(workspace) != "running"
        assert not maintained(lab)
    finally:
        at_work(lab, workspace, 0)
    ansible(ROLLBACK, limit=workspace, variables=NAMES).ok()
    assert_runs(lab, workspace, versions, "1")
    lab.runtime(workspace).stop(timeout=1)
    try:
        assert "so somebody wants it to be down" in failure(ansible(ROLLBACK, limit=workspace, variables=NAMES))
        assert lab.state(workspace) == "exited"
    finally:
        lab.runtime(workspace).start()


@pytest.mark.parametrize("workspace", [EIC_WORKSPACE], indirect=True)
def test_nothing_is_rolled_back_where_the_restart_would_throw_it_away(lab: Lab, ansible: Callable[..., Run], workspace: str) -> None:
    """A restart by the platform replaces the instance and its disk, so it is refused before anything is touched."""
    instance = lab.world.reload().instance_of(lab.world.workspace(workspace))["instance_id"]
    variables = {**NAMES, "restart_method": "platform", **platform_variables(lab)}
    run = ansible(ROLLBACK, limit=workspace, variables=variables)
    assert run.stats[workspace]["failures"] == 1 and "gives it another one with an empty disk" in run.output, run.output
    assert run.results("molecule_plugin") == [] and run.results("workspace_restart") == []
    assert lab.world.reload().instance_of(lab.world.workspace(workspace))["instance_id"] == instance
