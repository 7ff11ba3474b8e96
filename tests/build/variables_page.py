# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of all variables, made from the roles' argument specifications, the plugins' options and the playbooks' comments."""
from __future__ import annotations

import functools
import re
import typing

from markup import REPOSITORY, cell, entry_points_of_role, options_of_connection, options_of_plugin, options_of_role

PAGE = REPOSITORY / "docs" / "variables.md"
_COMMENTED = re.compile(r"^#   (\w+) {2,}(\S.*)$", re.MULTILINE)

_HEAD = """\
# Variables

<!-- Made by tests/build/variables_page.py; change the argument specifications, the plugins or the playbooks instead. -->

Everything that can be set for a host, a group or a run. What is not said otherwise belongs into the inventory, per host or group.
"""
_SECTIONS = (
    ("Where the workspace is", "Role `backend`, and so every role and playbook. Only `workspace_id` is required; the rest is looked up where it is not set.",
     "backend", "main", lambda name: name.startswith("workspace_") and name != "workspace_backend"),
    ("What becomes of a host that cannot be reached", "Role `backend`.", "backend", "main", lambda name: name.startswith("backend_")),
    ("The plugins", "Role `plugins`. `workspace_plugins` is the list itself; the options of its elements are in the documentation of the role.",
     "plugins", "main", lambda name: name == "workspace_plugins" or name.startswith("plugins_")),
    ("Audits", "Role `plugins`, entry point `audit`.", "plugins", "audit", lambda name: name == "plugins_fail_on"),
    ("Rollbacks", "Role `plugins`, entry point `rollback`.", "plugins", "rollback", lambda name: name == "plugins_names"),
    ("Restarts", "Role `restart`.", "restart", "main", lambda name: name.startswith("restart_")),
    ("The platform", "Role `restart`; for restarts by the platform, its allowlist, and the question whether an agent is busy.",
     "restart", "main", lambda name: name.startswith("workspace_platform_")),
)


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for title, text, role, entry_point, wanted in _SECTIONS:
        options = {name: option for name, option in options_of_role(role, entry_point).items() if wanted(name)}
        parts.append(f"\n## {title}\n\n{text}\n\n")
        required_first = sorted(options.items(), key=lambda item: not item[1].get("required"))
        parts.append(_table((f"`{name}`", option) for name, option in required_first))
    parts.append("\n## What the playbooks ask for\n\nBest as extra variables (`-e`), or in an AWX survey.\n\n| variable | playbook | |\n|---|---|---|\n")
    for name, meanings in sorted(of_playbooks().items()):
        told = dict.fromkeys(meanings.values())
        text = cell(next(iter(told)) if len(told) == 1 else "; ".join(f"`{playbook}`: {meaning}" for playbook, meaning in meanings.items()))
        parts.append(f"| `{name}` | {', '.join(f'`{playbook}`' for playbook in meanings)} | {text} |\n")
    parts.append("\n[Going through a fleet](rollout.md) explains the three that decide about canaries and batches.\n")
    parts.append("\n## Reports\n\nOf the callback `drift`, see [audits](audit.md#the-callback).\n\n")
    parts.append(_table((_names(option), option) for option in options_of_plugin("plugins/callback/drift.py").values() if option.get("vars")))
    parts.append("\n## The eic connection\n\nWhere a variable `ansible_eic_…` and one `workspace_…` mean the same, the first is stronger. All options of "
                 "`ansible.builtin.ssh` apply as well.\n\n")
    parts.append(_table((_names(option), option) for option in options_of_connection().values()
                        if any("eic" in each["name"] for each in option.get("vars", []))))
    parts.append("\n## What you find, and do not set\n\nThe inventory plugin's are in [inventory.md](inventory.md#3-what-a-host-has), the role `backend` "
                 "sets the fact `ansible_facts.workspace_backend` and the connection variables, and an audit leaves the counts that "
                 "[audits](audit.md#awx) lists.\n")
    return "".join(parts)


def of_playbooks() -> dict[str, dict[str, str]]:
    """The variables that playbooks explain in their comments, and the page about rollouts for them: by name the meaning, by playbook."""
    found: dict[str, dict[str, str]] = {}
    documented = _documented()
    for path in sorted((REPOSITORY / "playbooks").glob("*.yml")):
        for name, meaning in _COMMENTED.findall(path.read_text(encoding="utf-8")):
            if name not in documented:
                found.setdefault(name, {})[path.stem] = meaning
    rollout = (REPOSITORY / "docs" / "rollout.md").read_text(encoding="utf-8")
    for name, meaning in re.findall(r"^\| `(workspace_\w+)` \| (.*) \|$", rollout, re.MULTILINE):
        found[name] = dict.fromkeys(("install", "remove", "restart", "rollback", "sync"), meaning)
    return found


@functools.cache
def all_names() -> set[str]:
    """The names of all variables that are documented anywhere in the collection."""
    names = _documented() | set(of_playbooks())
    for options in (options_of_plugin("plugins/callback/drift.py"), options_of_connection()):
        for option in options.values():
            names |= {each["name"] for each in option.get("vars", [])}
    rulebook = (REPOSITORY / "extensions" / "eda" / "rulebooks" / "self_healing.yml").read_text(encoding="utf-8")
    return names | {name for name, _meaning in _COMMENTED.findall(rulebook)}


def _documented() -> set[str]:
    return {
        name for role in ("awx_setup", "backend", "plugins", "restart") for entry_point in entry_points_of_role(role)
        for name in options_of_role(role, entry_point)
    }


def _names(option: dict[str, typing.Any]) -> str:
    return ", ".join(f"`{each['name']}`" for each in option["vars"])


def _table(rows: typing.Iterable[tuple[str, dict[str, typing.Any]]]) -> str:
    lines = ["| variable | type | default | |", "|---|---|---|---|"]
    for names, option in rows:
        kind = option.get("type", "str") + (f" of {option['elements']}" if option.get("elements") else "")
        kind += ": " + ", ".join(f"`{choice}`" for choice in option["choices"]) if isinstance(option.get("choices"), list) else ""
        default = "required" if option.get("required") else f"`{_as_yaml(option['default'])}`" if option.get("default") is not None else ""
        meaning = cell(option["description"])
        if isinstance(option.get("choices"), dict):
            meaning += " " + " ".join(f"`{choice}`: {cell(text)}" for choice, text in option["choices"].items())
        lines.append(f"| {names} | {kind} | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _as_yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)
