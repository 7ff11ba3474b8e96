# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing what the runtime placed of a plugin: the whole job on plugins in the shapes of real ones, and what a person changed."""
from __future__ import annotations

import itertools
import json
import os
import pathlib
import shutil
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import directory_files as files
from ansible_collections.molecule_ai.workspace.tests.lab.fixtures import plugins as real_shaped_plugins
from ansible_collections.molecule_ai.workspace.tests.unit.plugins.module_utils.adapter_simulation import JOININGS
from ansible_collections.molecule_ai.workspace.tests.unit.plugins.module_utils.placement_workspace import CLAUDE_DIRECTORY, Workspace, reasons

REAL = ["careful-bash", "ecc", "superpowers", "browser-automation", "upgrade-probe-v1"]
USERS_TEXT = "# My notes\n\nTabs, not spaces.\n"
USERS_SETTINGS = {
    "model": "opus",
    "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "/configs/mine.sh"}]}]},
    "env": {"MINE": "ä"},
}
SMALL = {
    "rules/first.md": "# First\n\nOne.\n\n\nTwo.\n",
    "rules/second.md": "Second rule.\n",
    "notes.md": "A fragment.\n",
    "hooks/guard.sh": "#!/bin/sh\nexit 0\n",
    "commands/go.md": "Go.\n",
    "commands/ignored.txt": "not a command\n",
    "skills/helper/SKILL.md": "---\nid: helper\n---\n",
    "skills/helper/scripts/run.py": "print(1)\n",
    "settings-fragment.json": json.dumps(
        {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "${CLAUDE_DIR}/hooks/guard.sh"}]}]}, "env": {"X": "1"}}
    ),
}
HANDLER = ".claude/settings.json: hooks.PreToolUse[Bash] ${CLAUDE_DIR}/hooks/guard.sh"


@pytest.fixture
def workspace(tmp_path: pathlib.Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def small(workspace: Workspace) -> Workspace:
    """A workspace that loaded the plugin ``small``."""
    workspace.plugin("small", SMALL)
    workspace.load("small")
    return workspace


def _users_files(config: pathlib.Path) -> None:
    (config / "CLAUDE.md").write_text(USERS_TEXT)
    (config / "skills" / "mine").mkdir(parents=True)
    (config / "skills" / "mine" / "SKILL.md").write_text("mine\n")
    (config / ".claude" / "hooks").mkdir(parents=True)
    (config / ".claude" / "hooks" / "mine.sh").write_text("#!/bin/sh\n")
    (config / ".claude" / "settings.json").write_text(json.dumps(USERS_SETTINGS, indent=2) + "\n")


@pytest.mark.parametrize("joining", JOININGS)
@pytest.mark.parametrize("name", REAL)
def test_uninstall_leaves_exactly_what_was_there_before(workspace: Workspace, name: str, joining: str) -> None:
    """Rules, skills, hooks, commands and settings of the plugin go; a person's own ones stay byte for byte."""
    _users_files(workspace.config)
    before = workspace.snapshot()
    workspace.plugin(name, real_shaped_plugins()[name])
    workspace.load(name, joining=joining)
    workspace.load(name, joining=joining)  # a second start places nothing twice
    assert workspace.snapshot() != before
    result = workspace.remove(name)
    assert result["kept"] == []
    assert workspace.snapshot() == before


@pytest.mark.parametrize("name", REAL)
def test_uninstall_leaves_nothing_in_a_workspace_without_anything_else(workspace: Workspace, name: str) -> None:
    workspace.plugin(name, real_shaped_plugins()[name])
    workspace.load(name)
    workspace.remove(name)
    assert workspace.snapshot() == {}


def test_all_real_shaped_plugins_together_leave_nothing(workspace: Workspace) -> None:
    for name in REAL:
        workspace.plugin(name, real_shaped_plugins()[name])
    workspace.load(*REAL)
    for number, name in enumerate(REAL):
        assert workspace.remove(name, others=REAL[number + 1:])["kept"] == []
    assert workspace.snapshot() == {}


def test_the_result_names_everything(small: Workspace) -> None:
    assert small.remove("small") == {
        "removed": [
            HANDLER,
            ".claude/settings.json: env.X",
            ".claude/hooks/guard.sh",
            ".claude/commands/go.md",
            "skills/helper/SKILL.md",
            "skills/helper/scripts/run.py",
            "CLAUDE.md: rule first.md",
            "CLAUDE.md: rule second.md",
            "CLAUDE.md: fragment notes.md",
        ],
        "kept": [],
    }


def test_removing_again_finds_nothing_and_reports_nothing(small: Workspace) -> None:
    small.remove("small")
    assert small.remove("small") == {"removed": [], "kept": []}


def test_a_plugin_that_was_never_started_has_nothing_to_remove(workspace: Workspace) -> None:
    workspace.plugin("small", SMALL)
    assert workspace.remove("small") == {"removed": [], "kept": []}


def test_upgrade_shows_the_new_version_alone_after_the_next_start(workspace: Workspace, tmp_path: pathlib.Path) -> None:
    """Skill and hook changed, a rule added, a rule and a file removed: after the restart nothing of version 1 is left."""
    versions = real_shaped_plugins()
    probe = workspace.plugin("upgrade-probe", versions["upgrade-probe-v1"])
    _users_files(workspace.config)
    workspace.load("upgrade-probe")
    assert workspace.remove("upgrade-probe")["kept"] == []
    shutil.rmtree(probe)
    workspace.plugin("upgrade-probe", versions["upgrade-probe-v2"])
    workspace.load("upgrade-probe")

    (tmp_path / "fresh").mkdir()
    fresh = Workspace(tmp_path / "fresh")
    fresh.plugin("upgrade-probe", versions["upgrade-probe-v2"])
    _users_files(fresh.config)
    fresh.load("upgrade-probe")
    assert workspace.snapshot() == fresh.snapshot()


def test_an_edited_rule_stays_and_is_reported(small: Workspace) -> None:
    memory = small.config / "CLAUDE.md"
    memory.write_text(memory.read_text().replace("Two.", "Three."))
    result = small.remove("small")
    assert [entry["path"] for entry in result["kept"]] == ["CLAUDE.md"]
    assert "# Plugin: small / rule: first.md" in result["kept"][0]["reason"]
    assert memory.read_text() == "# Plugin: small / rule: first.md\n\n# First\n\nOne.\n\n\nThree.\n\n"
    assert "CLAUDE.md: rule second.md" in result["removed"]


def test_text_of_an_earlier_version_is_reported(small: Workspace) -> None:
    memory = small.config / "CLAUDE.md"
    memory.write_text("# Plugin: small / rule: gone.md\n\nOld.\n\n" + memory.read_text())
    assert "not from this version" in reasons(small.remove("small"))["CLAUDE.md"]
    assert memory.read_text() == "# Plugin: small / rule: gone.md\n\nOld.\n\n"


def test_changed_files_stay_and_are_reported(small: Workspace) -> None:
    config = small.config
    (config / "skills/helper/SKILL.md").write_text("mine now\n")
    (config / "skills/helper/own.txt").write_text("own\n")
    (config / "skills/helper/own").mkdir()
    (config / ".claude/hooks/guard.sh").write_text("#!/bin/sh\nexit 1\n")
    assert reasons(small.remove("small")) == {
        "skills/helper/SKILL.md": "changed since it was placed",
        "skills/helper/own.txt": "not from this plugin",
        "skills/helper/own": "not from this plugin",
        ".claude/hooks/guard.sh": "changed since it was placed",
    }
    assert (config / ".claude/hooks/guard.sh").exists()
    assert not (config / "skills/helper/scripts").exists()


def test_many_extra_files_make_a_short_report(small: Workspace) -> None:
    for number in range(100):
        (small.config / f"skills/helper/{number:03}").touch()
    kept = small.remove("small")["kept"]
    assert len(kept) == 21
    assert kept[-1] == {"path": "skills/helper", "reason": "80 more names here are not from this plugin"}


def test_names_in_a_report_cannot_disturb_a_terminal(small: Workspace) -> None:
    (small.config / "skills/helper/\x1b[2Jx\n").touch()
    assert list(reasons(small.remove("small"))) == ["skills/helper/\\x1b[2Jx\\n"]


def test_what_python_compiled_goes_with_its_source(small: Workspace) -> None:
    cache = small.config / "skills/helper/scripts/__pycache__"
    cache.mkdir()
    (cache / "run.cpython-311.pyc").write_bytes(b"x")
    (cache / "run.cpython-38.opt-1.pyc").write_bytes(b"x")
    (small.config / ".claude/hooks/__pycache__").mkdir()
    (small.config / ".claude/hooks/__pycache__/other.cpython-311.pyc").write_bytes(b"x")
    assert small.remove("small")["kept"] == []
    assert [path for path, entry in small.snapshot().items() if entry[0] == "file"] == [".claude/hooks/__pycache__/other.cpython-311.pyc"]


def test_what_python_compiled_of_other_sources_stays(small: Workspace) -> None:
    cache = small.config / "skills/helper/scripts/__pycache__"
    cache.mkdir()
    (cache / "own.cpython-311.pyc").write_bytes(b"x")
    assert reasons(small.remove("small")) == {"skills/helper/scripts/__pycache__": "not from this plugin"}
    assert (cache / "own.cpython-311.pyc").exists()


def test_a_release_that_writes_unix_line_ends_into_scripts(workspace: Workspace) -> None:
    workspace.plugin("small", {"hooks/a.sh": "#!/bin/sh\r\nexit 0\r\n", "hooks/b.txt": "x\r\n"})
    workspace.load("small")
    (workspace.config / ".claude/hooks/a.sh").write_bytes(b"#!/bin/sh\nexit 0\n")
    (workspace.config / ".claude/hooks/b.txt").write_bytes(b"x\n")
    result = workspace.remove("small")
    assert (result["removed"], list(reasons(result))) == ([".claude/hooks/a.sh"], [".claude/hooks/b.txt"])


def test_what_another_live_plugin_places_too_stays(workspace: Workspace) -> None:
    shared = {path: SMALL[path] for path in ("hooks/guard.sh", "skills/helper/SKILL.md", "skills/helper/scripts/run.py", "settings-fragment.json")}
    workspace.plugin("small", SMALL)
    workspace.plugin("other", shared)
    workspace.load("other", "small")
    assert set(reasons(workspace.remove("small", others=["other"])).items()) == {
        (HANDLER, "also placed by plugin other"),
        (".claude/settings.json: env.X", "also placed by plugin other"),
        (".claude/hooks/guard.sh", "also placed by plugin other"),
        ("skills/helper", "also placed by plugin other"),
    }
    assert workspace.remove("other")["kept"] == []
    assert workspace.snapshot() == {}


def test_a_skill_of_another_plugin_with_the_same_name_gets_its_place(workspace: Workspace) -> None:
    """Two plugins bring a skill of one name with different files: ours goes whole, so the other one's is copied at the next start."""
    workspace.plugin("small", SMALL)
    workspace.plugin("other", {"skills/helper/SKILL.md": SMALL["skills/helper/SKILL.md"], "skills/helper/more.txt": "more\n"})
    workspace.load("small", "other")
    assert workspace.remove("small", others=["other"])["kept"] == []
    assert not (workspace.config / "skills").exists()


def test_settings_are_found_under_each_name_that_the_config_dir_may_have(small: Workspace) -> None:
    """The runtime sees the config dir under another path than we do."""
    result = small.remove("small", claude_directories=["/elsewhere/.claude"])
    assert HANDLER not in result["removed"]
    assert HANDLER in small.remove("small", claude_directories=["/elsewhere/.claude", CLAUDE_DIRECTORY])["removed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_emptied_directories_in_a_config_dir_of_roots_go_too(small: Workspace) -> None:
    """As on an EC2 host: the runtime starts as root and makes them again when it needs them."""
    shutil.chown(small.config / "skills", 1000, 1000)
    shutil.chown(small.config / ".claude", 1000, 1000)
    small.remove("small")
    assert sorted(small.snapshot()) == []


def test_a_crash_anywhere_is_finished_by_the_next_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each durable step may be the last one; what a second run then leaves is what one run leaves."""

    class PowerLoss(BaseException):
        pass

    for last_step in range(1, 40):
        root = tmp_path / str(last_step)
        root.mkdir()
        workspace = Workspace(root)
        _users_files(workspace.config)
        before = workspace.snapshot()
        workspace.plugin("careful-bash", real_shaped_plugins()["careful-bash"])
        workspace.load("careful-bash")
        steps = itertools.count(1)

        def sync(
            directory_fd: int, steps: typing.Iterator[int] = steps, last: int = last_step, real: typing.Callable[[int], None] = files.sync_directory
        ) -> None:
            if next(steps) == last:
                raise PowerLoss
            real(directory_fd)

        with monkeypatch.context() as patch:
            patch.setattr(files, "sync_directory", sync)
            try:
                workspace.remove("careful-bash")
                break
            except PowerLoss:
                pass
        assert workspace.remove("careful-bash")["kept"] == []
        assert workspace.snapshot() == before
    assert last_step > 5
