# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic plugins in the shapes of real ones, written anew each time, always the same bytes.

``write_plugins`` makes *careful-bash* (hooks with exec bits, a settings fragment, a command, one skill, an adapter), *ecc* (3 rules,
3 fragments, 5 skills with files beside ``SKILL.md``), *superpowers* (5 skills, one executable script), *browser-automation* (2 skills,
for ``claude_code``), and *upgrade-probe* twice, as ``upgrade-probe-v1`` and ``upgrade-probe-v2``: in version 2 a skill and a hook changed,
a rule came, a rule went, a file went. ``write_big`` makes one with many files or bytes.
"""
from __future__ import annotations

import json
import pathlib
import random
import typing

from .fixture_texts import ECC_FRAGMENTS, ECC_RULES, ECC_SKILLS, GUARD_HOOK, LOG_HOOK, SUPERPOWERS_SKILLS

EXECUTABLE = 0o755
PLAIN = 0o644
Files = typing.Dict[str, typing.Union[str, bytes]]


def write_plugins(directory: pathlib.Path) -> None:
    """Write all plugins, one directory each, below ``directory`` (made if it is missing)."""
    for name, files in plugins().items():
        write_tree(directory / name, files)


def plugins() -> typing.Dict[str, Files]:
    """Return the plugins as directory name -> relative path -> content."""
    return {
        "careful-bash": _careful_bash(),
        "ecc": _ecc(),
        "superpowers": _superpowers(),
        "browser-automation": _browser_automation(),
        "upgrade-probe-v1": _upgrade_probe_v1(),
        "upgrade-probe-v2": _upgrade_probe_v2(),
    }


def write_big(directory: pathlib.Path, name: str = "big", files: int = 400, bytes_each: int = 16_384) -> pathlib.Path:
    """Write a plugin of ``files`` incompressible files of ``bytes_each`` bytes, spread over its skills' directories; returns its path."""
    generator = random.Random(f"{name} {files} {bytes_each}")
    content: Files = {"plugin.yaml": manifest(name, "1.0.0", "Many bytes, to see how long they take")}
    for number in range(files):
        content[f"skills/part-{number % 10}/data/{number:05}.bin"] = generator.getrandbits(8 * bytes_each).to_bytes(bytes_each, "big")
    for part in range(min(10, files)):
        content[f"skills/part-{part}/SKILL.md"] = skill(f"part-{part}", "Holds data files.", "Nothing to do with them.")
    write_tree(directory / name, content)
    return directory / name


def write_tree(root: pathlib.Path, files: Files) -> None:
    """Write ``files`` below ``root``; what starts with ``#!`` is executable. Modes do not depend on the umask."""
    for path, content in sorted(files.items()):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode("utf-8") if isinstance(content, str) else content
        target.write_bytes(data)
        target.chmod(EXECUTABLE if data.startswith(b"#!") else PLAIN)
    for made in [root, *root.rglob("*")]:
        if made.is_dir():
            made.chmod(EXECUTABLE)


def manifest(name: str, version: str, description: str, **lists: typing.Sequence[str]) -> str:
    """Return a ``plugin.yaml``."""
    lines = [f"name: {name}", f"version: {version}", f"description: {description}", "author: Example Fleet"]
    for key, items in lists.items():
        lines += [f"{key}:"] + [f"  - {item}" for item in items]
    return "\n".join(lines) + "\n"


def skill(identifier: str, description: str, body: str) -> str:
    """Return a ``SKILL.md``."""
    title = identifier.replace("-", " ").capitalize()
    return f"---\nid: {identifier}\nname: {title}\ndescription: {description}\n---\n\n# {title}\n\n{body}\n"


def _settings(fragment: typing.Dict[str, typing.Any]) -> str:
    return json.dumps(fragment, indent=2) + "\n"


def _command_hook(command: str, **more: typing.Any) -> typing.Dict[str, typing.Any]:
    return {"type": "command", "command": "${CLAUDE_DIR}/hooks/" + command, **more}


def _careful_bash() -> Files:
    return {
        "plugin.yaml": manifest(
            "careful-bash", "1.2.0", "Asks before a destructive shell command", runtimes=["claude-code"], hooks=["guard-bash"], skills=["careful-mode"]
        ),
        "README.md": "# careful-bash\n\nFor people; the runtime does not load this file.\n",
        "rules/careful-bash.md": (
            "# Careful with the shell\n\nBefore a command that deletes, overwrites or publishes:\n\n"
            "1. Say what it will change.\n2. Show the exact command.\n\n\nWait for a yes. *No answer is a no.*\n"
        ),
        "hooks/guard-bash.sh": GUARD_HOOK,
        "hooks/log-bash.py": LOG_HOOK,
        "commands/careful.md": "Turn careful mode on for the rest of this session and list the commands that it guards.\n",
        "skills/careful-mode/SKILL.md": skill("careful-mode", "Work with the shell's guard.", "When the guard stops you, ask; never work around it."),
        "adapters/claude_code.py": '"""Nothing special: the standard adapter does."""\n',
        "settings-fragment.json": _settings(
            {
                "hooks": {
                    "PreToolUse": [{"matcher": "Bash", "hooks": [_command_hook("guard-bash.sh", timeout=10)]}],
                    "PostToolUse": [{"matcher": "Bash|Write", "hooks": [_command_hook("log-bash.py")]}],
                },
                "env": {"CAREFUL_BASH": "1"},
                "permissions": {"deny": ["Bash(rm -rf /:*)"]},
            }
        ),
    }


def _ecc() -> Files:
    files: Files = {
        "plugin.yaml": manifest(
            "ecc", "2.0.1", "Engineering conventions for a team of agents", tags=["conventions"], rules=sorted(ECC_RULES), skills=sorted(ECC_SKILLS)
        ),
        "README.md": "# ecc\n\nConventions. This file is for people.\n",
        "CHANGELOG.md": "# Changes\n\n## 2.0.1\n\n* Review checklist by risk.\n",
    }
    files.update({f"rules/{name}.md": text for name, text in ECC_RULES.items()})
    files.update({f"{name}.md": text for name, text in ECC_FRAGMENTS.items()})
    for name, (description, body, beside) in ECC_SKILLS.items():
        files[f"skills/{name}/SKILL.md"] = skill(name, description, body)
        files.update({f"skills/{name}/{path}": text for path, text in beside.items()})
    return files


def _superpowers() -> Files:
    files: Files = {
        "plugin.yaml": manifest("superpowers", "0.9.0", "Working methods that pay off", skills=sorted(SUPERPOWERS_SKILLS)),
        "README.md": "# superpowers\n\nFive methods.\n",
    }
    for name, (description, body, beside) in SUPERPOWERS_SKILLS.items():
        files[f"skills/{name}/SKILL.md"] = skill(name, description, body)
        files.update({f"skills/{name}/{path}": text for path, text in beside.items()})
    return files


def _browser_automation() -> Files:
    return {
        "plugin.yaml": manifest(
            "browser-automation", "1.1.0", "Drives a headless browser", runtimes=["claude_code"], tags=["browser", "web"], skills=["browse", "screenshot"]
        ),
        "README.md": "# browser-automation\n\nNeeds a browser in the workspace's image.\n",
        "rules/browsing.md": "# Browsing\n\nRead a page before you click on it.\n\nNever type a password into a page.\n",
        "skills/browse/SKILL.md": skill("browse", "Open a page and read it.", "Open the page, wait until it is quiet, then take its text."),
        "skills/browse/scripts/open-page.sh": '#!/bin/sh\nset -eu\nexec chromium --headless --dump-dom -- "$1"\n',
        "skills/screenshot/SKILL.md": skill("screenshot", "Take a picture of a page.", "Use the width that the user will see: 1280 pixels."),
        "skills/screenshot/example.png": bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"),
    }


def _upgrade_probe_v1() -> Files:
    return {
        "plugin.yaml": manifest("upgrade-probe", "1.0.0", "Shows what an upgrade leaves behind", rules=["always", "going"], skills=["probe"]),
        "README.md": "# upgrade-probe\n\nVersion 1.\n",
        "rules/always.md": "# Always\n\nVersion one of a rule that stays.\n",
        "rules/going.md": "# Going\n\nA rule that version two does not have.\n",
        "probe-notes.md": "# Notes\n\nA fragment that both versions have.\n",
        "hooks/probe.sh": "#!/bin/sh\necho probe one\n",
        "commands/probe.md": "Say which version of the probe you see.\n",
        "skills/probe/SKILL.md": skill("probe", "Version one.", "Answer with the number one."),
        "skills/probe/reference/old-table.txt": "one\t1\n",
        "settings-fragment.json": _settings(
            {"hooks": {"SessionStart": [{"hooks": [_command_hook("probe.sh")]}]}, "env": {"PROBE_VERSION": "1"}}
        ),
    }


def _upgrade_probe_v2() -> Files:
    files = _upgrade_probe_v1()
    del files["rules/going.md"], files["skills/probe/reference/old-table.txt"]
    files.update(
        {
            "plugin.yaml": manifest("upgrade-probe", "2.0.0", "Shows what an upgrade leaves behind", rules=["always", "coming"], skills=["probe"]),
            "README.md": "# upgrade-probe\n\nVersion 2.\n",
            "rules/always.md": "# Always\n\nVersion two of a rule that stays.\n",
            "rules/coming.md": "# Coming\n\nA rule that version one did not have.\n",
            "hooks/probe.sh": "#!/bin/sh\necho probe two\n",
            "skills/probe/SKILL.md": skill("probe", "Version two.", "Answer with the number two."),
            "settings-fragment.json": _settings(
                {"hooks": {"SessionStart": [{"hooks": [_command_hook("probe.sh", timeout=5)]}]}, "env": {"PROBE_VERSION": "2"}}
            ),
        }
    )
    return files
