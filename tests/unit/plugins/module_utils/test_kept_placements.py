# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person changed after the runtime placed it is never removed, whatever is done with the plugin, and is listed as kept with the reason."""
from __future__ import annotations

import json
import pathlib
import typing

import pytest
from adapter_simulation import Adapter
from plugin_samples import Workspace

PLUGIN = {
    "plugin.yaml": b"name: ecc\nversion: 1.0.0\n",
    "rules/one.md": b"# One\n\nrule text\n",
    "notes.md": b"fragment text\n",
    "skills/helper/SKILL.md": b"helper\n",
    "skills/helper/scripts/run.py": b"print(1)\n",
    "hooks/check.sh": (b"#!/bin/sh\n", 0o755),
    "commands/go.md": b"Go.\n",
    "settings-fragment.json": json.dumps(
        {
            "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "${CLAUDE_DIR}/hooks/check.sh"}]}]},
            "env": {"LEVEL": "1"},
            "theme": "dark",
        }
    ).encode(),
}
EARLIER = {"plugin.yaml": b"name: ecc\nversion: 0.9.0\n"}
LATER = {"plugin.yaml": b"name: ecc\nversion: 2.0.0\n"}


def rewritten(file: pathlib.Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


# kind of placement -> (file, what a person makes of it, what must still be in it, how the result calls it)
KINDS: dict[str, tuple[str, typing.Callable[[pathlib.Path], None], str, str]] = {
    "rule": ("CLAUDE.md", lambda file: rewritten(file, "rule text", "my rule text"), "my rule text", "CLAUDE.md"),
    "fragment": ("CLAUDE.md", lambda file: rewritten(file, "fragment text", "my fragment text"), "my fragment text", "CLAUDE.md"),
    "skill": ("skills/helper/SKILL.md", lambda file: rewritten(file, "helper", "my helper"), "my helper", "skills/helper/SKILL.md"),
    "file beside a skill": ("skills/helper/scripts/run.py", lambda file: rewritten(file, "1", "2"), "print(2)", "skills/helper/scripts/run.py"),
    "own file in a skill": ("skills/helper/mine.md", lambda file: file.write_text("mine"), "mine", "skills/helper/mine.md"),
    "hook": (".claude/hooks/check.sh", lambda file: file.write_text("#!/bin/sh\nexit 1\n"), "exit 1", ".claude/hooks/check.sh"),
    "command": (".claude/commands/go.md", lambda file: file.write_text("Go slowly.\n"), "slowly", ".claude/commands/go.md"),
    "hook handler": (
        ".claude/settings.json", lambda file: rewritten(file, '"type": "command"', '"type": "command", "timeout": 9'), '"timeout": 9',
        ".claude/settings.json: hooks.PreToolUse[Bash] ${CLAUDE_DIR}/hooks/check.sh",
    ),
    "setting": (".claude/settings.json", lambda file: rewritten(file, "dark", "light"), "light", ".claude/settings.json: theme"),
    "nested setting": (
        ".claude/settings.json", lambda file: rewritten(file, '"LEVEL": "1"', '"LEVEL": "7"'), '"LEVEL": "7"', ".claude/settings.json: env.LEVEL"
    ),
}


@pytest.mark.parametrize("operation", ["upgrade", "removal", "rollback"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_person_changed_is_kept_and_listed(tmp_path: pathlib.Path, kind: str, operation: str) -> None:
    workspace = Workspace(tmp_path)
    workspace.apply({"ecc": EARLIER})
    workspace.apply({"ecc": PLUGIN})
    Adapter(workspace.config, str(workspace.config / ".claude")).start()
    path, change, text, label = KINDS[kind]
    change(workspace.config / path)

    if operation == "rollback":
        predicted = workspace.inspect_previous("ecc")["ecc"]["placements"]
        done = workspace.roll_back("ecc")["plugins"]["ecc"]
    else:
        wanted = {"ecc": LATER if operation == "upgrade" else None}
        predicted = workspace.inspect(wanted)["plugins"]["ecc"]["placements"]
        done = workspace.apply(wanted)["plugins"]["ecc"]
    assert text in (workspace.config / path).read_text(encoding="utf-8")
    assert done["kept"] == predicted["kept"] and [item["path"] for item in done["kept"]] == [label] and done["kept"][0]["reason"]
    assert done["removed_placements"] == predicted["removed"] and len(done["removed_placements"]) >= 7, "all that was not changed is gone"
