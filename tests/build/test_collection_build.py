# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tarball that users install: it holds the product and nothing else, and works from an empty collections path."""
from __future__ import annotations

import json
import pathlib
import tarfile

import pytest
from programs import run_program

PRODUCT_ROOTS = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "LICENSES", "MANIFEST.json", "README.md", "awx", "bindep.txt",
    "changelogs", "docs", "extensions", "meta", "playbooks", "plugins", "requirements.txt", "roles",
}
PLUGINS = {
    "module": ["molecule_plugin", "workspace_activity", "workspace_backend_facts", "workspace_restart"],
    "lookup": ["registry"],
    "connection": ["eic"],
    "callback": ["drift"],
    "role": ["awx_setup", "backend", "plugins", "restart"],
}
PLAYBOOKS = ["audit", "install", "registry", "remove", "restart", "rollback", "sync"]


def test_tarball_holds_nothing_but_the_product(tarball: pathlib.Path) -> None:
    with tarfile.open(tarball) as archive:
        names = [member.name for member in archive.getmembers()]
    assert {name.split("/")[0] for name in names} <= PRODUCT_ROOTS
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name or "/tests" in name]
    assert "plugins/connection/eic.py" in names
    assert "plugins/module_utils/plugin_store.py" in names
    assert {name for name in names if name.startswith("extensions/") and name.count(".")} == {
        "extensions/eda/plugins/event_source/workspaces.py", "extensions/eda/rulebooks/self_healing.yml"}
    # an execution environment takes its packages from these
    assert {"meta/execution-environment.yml", "requirements.txt", "bindep.txt"} <= set(names)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in PLUGINS.items() for name in names])
def test_documentation_of_every_plugin_and_role(installed: dict[str, str], kind: str, name: str) -> None:
    documented = json.loads(run_program("ansible-doc", "--json", "--type", kind, f"molecule_ai.workspace.{name}", **installed).stdout)
    assert f"molecule_ai.workspace.{name}" in documented


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbooks_run_by_their_full_name(installed: dict[str, str], playbook: str) -> None:
    run_program("ansible-playbook", "--syntax-check", "-i", "workspace-1,", f"molecule_ai.workspace.{playbook}", **installed)
