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
from workspaces import both_tiers

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
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


def assert_runs(lab: Lab, workspace: str, versions: pathlib.Path, version: str) -> None:
    """This version is live, byte for byte, loaded, and the only one that the runtime has placed."""
    assert lab.snapshot(workspace, "plugins/probe") == expected_items(versions / version / "probe")
    assert lab.state(workspace) == "running" and lab.loaded_names(workspace) == ["probe"]
    assert memory(lab, workspace).count("Version ") == 1 and f"Version {version}." in memory(lab, workspace)
    assert not [one.name for one in lab.engine.containers.list(all=True) if one.name.startswith("molecule-maintenance-")]


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
    lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path
) -> None:
    ansible(INSTALL, limit=workspace, variables=source(versions, "1")).ok()
    run = ansible(INSTALL, limit=workspace, variables={**source(versions, "3"), "plugins_rollback_on_failed_restart": True, "restart_wait_timeout": 20})
    message = failure(run)
    assert "did not come back with probe upgraded (" in message and "they were rolled back, and it runs again without the change" in message
    assert "molecule_ai.workspace.rollback" not in message and "keep waiting" not in message, message
    assert_runs(lab, workspace, versions, "1")
    assert ansible(ROLLBACK, limit=workspace, variables=NAMES).ok().stats[workspace]["changed"] == 0


def test_a_container_that_a_plugin_keeps_down_is_rolled_back_and_started(
    lab: Lab, ansible: Callable[..., Run], workspace: str, versions: pathlib.Path
) -> None:
    ansible(INSTALL, limit=workspace, variables=source(versions, "1")).ok()
    assert "molecule_ai.workspace.rollback" in failure(ansible(INSTALL, limit=workspace, variables={**source(versions, "3"), "restart_wait_timeout": 20}))
    assert "in check mode" in failure(ansible(ROLLBACK, limit=workspace, variables=NAMES, check=True))
    ansible(ROLLBACK, limit=workspace, variables=NAMES).ok()
    assert_runs(lab, workspace, versions, "1")
    lab.runtime(workspace).stop(timeout=1)
    try:
        assert "so somebody wants it to be down" in failure(ansible(ROLLBACK, limit=workspace, variables=NAMES))
        assert lab.state(workspace) == "exited"
    finally:
        lab.runtime(workspace).start()
