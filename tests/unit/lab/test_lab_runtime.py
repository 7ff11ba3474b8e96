# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's runtime is what tests compare the product with, so its own placements are pinned here, byte by byte."""
from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import stat
import types

import pytest

PROGRAM = pathlib.Path(__file__).resolve().parents[2] / "lab" / "image" / "molecule-runtime"


@pytest.fixture(name="runtime")
def fixture_runtime(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The runtime as a module; files keep the test's own owner."""
    loader = importlib.machinery.SourceFileLoader("molecule_runtime", str(PROGRAM))
    specification = importlib.util.spec_from_loader("molecule_runtime", loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    monkeypatch.setattr(module, "own", lambda path: None)
    monkeypatch.setattr(module, "run_setup", lambda plugin: None)
    return module


def write(root: pathlib.Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if name.endswith(".sh") else 0o644)


def test_rules_and_fragments_become_one_text(runtime: types.ModuleType, tmp_path: pathlib.Path) -> None:
    write(tmp_path, {
        "plugins/demo/rules/b.md": "Rule B.\n", "plugins/demo/rules/a.md": "Rule A, line 1.\n\nLine 3.\n", "plugins/demo/rules/not.txt": "no",
        "plugins/demo/notes.md": "A fragment without a final newline", "plugins/demo/README.md": "no", "plugins/demo/LICENSE.md": "no",
        "CLAUDE.md": "My own line",
    })
    runtime.load_all(str(tmp_path))
    expected = (
        "My own line\n"
        "# Plugin: demo / rule: a.md\n\nRule A, line 1.\n\nLine 3.\n\n"
        "# Plugin: demo / rule: b.md\n\nRule B.\n\n"
        "# Plugin: demo / fragment: notes.md\n\nA fragment without a final newline\n\n"
    )
    assert (tmp_path / "CLAUDE.md").read_text() == expected
    assert runtime.load_all(str(tmp_path))[0]["memory_appended"] is False
    assert (tmp_path / "CLAUDE.md").read_text() == expected


def test_an_upgraded_plugin_keeps_the_old_text_while_the_first_header_is_there(runtime: types.ModuleType, tmp_path: pathlib.Path) -> None:
    write(tmp_path, {"plugins/demo/rules/a.md": "old\n"})
    runtime.load_all(str(tmp_path))
    write(tmp_path, {"plugins/demo/rules/a.md": "new\n", "plugins/demo/rules/b.md": "added\n"})
    runtime.load_all(str(tmp_path))
    assert (tmp_path / "CLAUDE.md").read_text() == "# Plugin: demo / rule: a.md\n\nold\n\n"


def test_skills_are_copied_once_hooks_and_commands_each_time(runtime: types.ModuleType, tmp_path: pathlib.Path) -> None:
    write(tmp_path, {"plugins/demo/skills/s/SKILL.md": "v1", "plugins/demo/skills/s/run.sh": "v1", "plugins/demo/hooks/h.sh": "v1",
                     "plugins/demo/commands/c.md": "v1", "plugins/demo/commands/c.txt": "no"})
    runtime.load_all(str(tmp_path))
    write(tmp_path, {"plugins/demo/skills/s/SKILL.md": "v2", "plugins/demo/hooks/h.sh": "v2", "plugins/demo/commands/c.md": "v2"})
    runtime.load_all(str(tmp_path))
    assert (tmp_path / "skills/s/SKILL.md").read_text() == "v1"
    assert (tmp_path / ".claude/hooks/h.sh").read_text() == "v2"
    assert stat.S_IMODE((tmp_path / ".claude/hooks/h.sh").stat().st_mode) == 0o755
    assert os.listdir(tmp_path / ".claude/commands") == ["c.md"]


def test_settings_are_merged(runtime: types.ModuleType, tmp_path: pathlib.Path) -> None:
    fragment = {
        "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "${CLAUDE_DIR}/hooks/h.sh"}]}]},
        "env": {"KEPT": "fragment", "ADDED": "fragment"}, "model": "fragment", "theme": "fragment",
    }
    own = {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "mine"}]}]}, "env": {"KEPT": "mine"}, "model": "mine"}
    write(tmp_path, {"plugins/demo/settings-fragment.json": json.dumps(fragment), ".claude/settings.json": json.dumps(own)})
    runtime.load_all(str(tmp_path))
    runtime.load_all(str(tmp_path))
    assert json.loads((tmp_path / ".claude/settings.json").read_text()) == {
        "hooks": {"PreToolUse": [
            {"matcher": "Bash", "hooks": [{"type": "command", "command": "mine"}]},
            {"matcher": "Bash", "hooks": [{"type": "command", "command": f"{tmp_path}/.claude/hooks/h.sh"}]},
        ]},
        "env": {"KEPT": "mine", "ADDED": "fragment"}, "model": "mine", "theme": "fragment",
    }


def test_every_directory_is_loaded_and_a_broken_one_stops_nobody(runtime: types.ModuleType, tmp_path: pathlib.Path) -> None:
    write(tmp_path, {"plugins/.staging/rules/a.md": "x", "plugins/broken/settings-fragment.json": "{", "plugins/fine/rules/a.md": "x", "plugins/a-file": "x"})
    records = runtime.load_all(str(tmp_path))
    assert [record["name"] for record in records] == [".staging", "broken", "fine"]
    assert [("error" in record) for record in records] == [False, True, False]
