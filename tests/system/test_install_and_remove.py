# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on both tiers: what is installed is live, a second run does nothing, an upgrade and a removal leave nothing behind."""
from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable

import pytest
from ansible_run import Run
from expected import expected_items, wanted
from lab.api import Lab
from workspaces import PUSH_WORKSPACES, both_tiers

PLUGINS = ["browser-automation", "careful-bash", "ecc", "superpowers"]
INSTALL = "molecule_ai.workspace.install"
REMOVE = "molecule_ai.workspace.remove"

OWN_TEXT = "# House rules\n\nAlways answer in English.\n\n\n# Plugin: not-a-plugin / rule: mine.md\n\nkept\n"
OWN_HANDLER = {"type": "command", "command": "/usr/bin/true"}
OWN_SETTINGS = {"model": "large", "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [OWN_HANDLER]}]}, "env": {"MINE": "1"}}


def any_runtime(plugins: list[dict[str, object]]) -> list[dict[str, object]]:
    """The same list for a workspace whose runtime the plugins do not name."""
    return [{**plugin, "any_runtime": True} for plugin in plugins]


@pytest.mark.parametrize("workspace", PUSH_WORKSPACES, indirect=True)
def test_installed_plugins_are_byte_equal_and_loaded_after_one_restart(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path
) -> None:
    starts = len(lab.starts(workspace))
    variables = {"workspace_plugins": any_runtime(wanted(plugin_sources, *PLUGINS))}

    first = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert first.stats[workspace]["changed"] > 0
    for name in PLUGINS:
        assert lab.snapshot(workspace, f"plugins/{name}") == expected_items(plugin_sources / name)
    assert sorted(lab.loaded_names(workspace)) == sorted(PLUGINS)
    assert len(lab.starts(workspace)) == starts + 1

    before = lab.snapshot(workspace)
    second = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert second.stats[workspace]["changed"] == 0
    assert second.result("molecule_plugin", workspace)["transferred_bytes"] == 0
    assert lab.snapshot(workspace) == before
    assert len(lab.starts(workspace)) == starts + 1


@both_tiers
def test_upgrade_leaves_nothing_of_the_old_version(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    def source(version: str) -> list[dict[str, str]]:
        directory = tmp_path / version / "upgrade-probe"
        shutil.copytree(plugin_sources / f"upgrade-probe-{version}", directory)
        return [{"name": "upgrade-probe", "source": str(directory)}]

    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": source("v1")}).ok()
    assert b"Version one of a rule that stays." in (lab.read_file(workspace, "CLAUDE.md") or b"")
    upgrade = ansible(INSTALL, limit=workspace, variables={"workspace_plugins": source("v2")}).ok()
    assert upgrade.result("molecule_plugin", workspace)["plugins"][0]["action"] == "upgraded"

    memory = (lab.read_file(workspace, "CLAUDE.md") or b"").decode()
    assert "Version two of a rule that stays." in memory and "A rule that version one did not have." in memory
    assert "Version one" not in memory and "going.md" not in memory
    assert memory.count("# Plugin: upgrade-probe / fragment: probe-notes.md") == 1
    assert b"the number two" in (lab.read_file(workspace, "skills/probe/SKILL.md") or b"")
    assert "skills/probe/reference/old-table.txt" not in lab.snapshot(workspace)
    assert lab.read_file(workspace, ".claude/hooks/probe.sh") == b"#!/bin/sh\necho probe two\n"
    settings = json.loads(lab.read_file(workspace, ".claude/settings.json") or b"")
    assert settings["env"] == {"PROBE_VERSION": "2"}
    handlers = [handler for group in settings["hooks"]["SessionStart"] for handler in group["hooks"]]
    assert len(handlers) == 1 and handlers[0]["timeout"] == 5


@both_tiers
def test_removal_leaves_nothing_but_what_people_wrote(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    lab.write_file(workspace, "CLAUDE.md", OWN_TEXT)
    lab.write_file(workspace, "skills/own-skill/SKILL.md", "mine\n")
    lab.write_file(workspace, ".claude/settings.json", json.dumps(OWN_SETTINGS, indent=2) + "\n")
    lab.write_file(workspace, ".claude/hooks/own.sh", "#!/bin/sh\n", mode=0o755)
    before = lab.snapshot(workspace)

    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, *PLUGINS)}).ok()
    assert lab.snapshot(workspace)["CLAUDE.md"] != before["CLAUDE.md"]
    assert "skills/careful-mode/SKILL.md" in lab.snapshot(workspace)

    starts = len(lab.starts(workspace))
    removed = ansible(REMOVE, limit=workspace, variables={"workspace_plugin_names": PLUGINS}).ok()
    assert {plugin["action"] for plugin in removed.result("molecule_plugin", workspace)["plugins"]} == {"removed"}
    assert len(lab.starts(workspace)) == starts + 1
    assert lab.loaded_names(workspace) == []
    after = {path: item for path, item in lab.snapshot(workspace).items() if not path.startswith(".molecule_ai")}
    left = {path for path in after if path not in before}
    assert left == {"plugins"}, left
    assert {path: after[path] for path in before if path} == {path: before[path] for path in before if path}

    again = ansible(REMOVE, limit=workspace, variables={"workspace_plugin_names": PLUGINS}).ok()
    assert again.stats[workspace]["changed"] == 0
    assert len(lab.starts(workspace)) == starts + 1


@both_tiers
def test_removal_from_a_fresh_workspace_leaves_nothing_at_all(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    before = lab.snapshot(workspace)
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, *PLUGINS)}).ok()
    ansible(REMOVE, limit=workspace, variables={"workspace_plugin_names": PLUGINS}).ok()
    after = {path: item for path, item in lab.snapshot(workspace).items() if path.split("/")[0] not in (".molecule_ai", "plugins")}
    assert after == before
    assert lab.snapshot(workspace, "plugins") == {"": after[""]._replace(mode=0o755, uid=1000, gid=1000)}


@both_tiers
def test_what_a_person_changed_is_kept_and_reported(lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path) -> None:
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "careful-bash")}).ok()
    lab.write_file(workspace, "skills/careful-mode/SKILL.md", "rewritten by a person\n")
    run = ansible(REMOVE, limit=workspace, variables={"workspace_plugin_names": ["careful-bash"]}).ok()
    kept = run.result("molecule_plugin", workspace)["plugins"][0]["kept"]
    assert [item["path"] for item in kept] == ["skills/careful-mode/SKILL.md"]
    assert lab.read_file(workspace, "skills/careful-mode/SKILL.md") == b"rewritten by a person\n"


def test_one_run_over_all_tiers_reports_each_and_goes_on(lab: Lab, ansible: Callable[..., Run], plugin_sources: pathlib.Path) -> None:
    for name in PUSH_WORKSPACES:
        lab.reset(name)
    run = ansible(INSTALL, variables={"workspace_plugins": any_runtime(wanted(plugin_sources, "browser-automation"))})
    assert run.returncode != 0
    failed = {host for host, counts in run.stats.items() if counts["failures"] or counts["unreachable"]}
    assert failed == {"stopped", "unknown"}
    assert run.stats["outside"]["failures"] == 0 and "/download" in run.output
    for name in PUSH_WORKSPACES:
        assert lab.loaded_names(name) == ["browser-automation"], name


def test_a_job_about_one_plugin_is_stopped_by_nothing_in_the_fleets_list(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path
) -> None:
    """Not by a mistake in it, not by what nobody can compute, wherever it comes from; and nothing that it says of other plugins is done."""
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "careful-bash")}).ok()
    wrong = [{"name": "../up", "sorce": "nowhere"}, "a text", {"name": "superpowers", "state": "there"}]
    one = {"workspace_plugin_name": "ecc", "workspace_plugin_source": str(plugin_sources / "ecc"), "plugins_exclusive": True}
    ansible(INSTALL, limit=workspace, variables={**one, "workspace_plugins": wrong}).ok()
    assert sorted(lab.loaded_names(workspace)) == ["careful-bash", "ecc"]
    unknown = {"workspace_plugin_names": "ecc", "plugins_exclusive": True, "workspace_plugins": "{{ nobody.knows | mandatory }}"}
    ansible(REMOVE, limit=workspace, variables=unknown).ok()
    assert lab.loaded_names(workspace) == ["careful-bash"]
