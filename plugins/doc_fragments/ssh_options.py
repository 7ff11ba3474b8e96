# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of ansible.builtin.ssh, computed from the ansible-core that is installed.

Options change with every release of core, and its ssh code reads new ones unconditionally: a copied list breaks with the next core.
"""
from __future__ import annotations

import typing as t

import yaml
from ansible.plugins.connection import ssh

# The plugin exists to make tasks cheap, and EC2 instances have no requiretty.
_DEFAULTS = {"pipelining": True, "remote_user": "ubuntu"}
_ABOUT_OTHER_RELEASES = ("version_added", "version_added_collection", "deprecated")


def _without_release_notes(value: t.Any) -> t.Any:
    """``value`` without the keys that speak of core's releases: in a collection they would be read as the collection's."""
    if isinstance(value, dict):
        return {key: _without_release_notes(item) for key, item in value.items() if key not in _ABOUT_OTHER_RELEASES}
    if isinstance(value, list):
        return [_without_release_notes(item) for item in value]
    return value


def _options() -> dict[str, t.Any]:
    options: dict[str, t.Any] = _without_release_notes(yaml.safe_load(ssh.DOCUMENTATION)["options"])
    for name, default in _DEFAULTS.items():
        options[name]["default"] = default
    # core's default is below ~/.ansible even if ANSIBLE_HOME is elsewhere
    options["control_path_dir"].pop("default")
    options["control_path_dir"]["description"] = [
        "Directory for the sockets of shared connections. It must be private, and its path short enough for sockets.",
        "Without it, C(cp) below E(ANSIBLE_HOME), or C(~/.ansible/cp) if the former is too long.",
    ]
    options["pipelining"].setdefault("type", "boolean")
    options["pipelining"].setdefault("description", "Run modules without copying them to the instance first: one SSH execution per task instead of several.")
    return options


class ModuleDocFragment:
    """Documentation fragment ``molecule_ai.workspace.ssh_options``."""


# assigned below the class: computed inside its body, it breaks the tools that read fragments without running them
ModuleDocFragment.DOCUMENTATION = yaml.safe_dump({"options": _options()})  # type: ignore[attr-defined]
