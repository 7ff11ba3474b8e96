# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry offers, and what in it cannot be installed."""
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from unittest import mock

import pytest
from ansible.errors import AnsibleLookupError
from ansible_collections.molecule_ai.workspace.plugins.lookup import registry


def run(*terms: object) -> tuple[list[dict[str, object]], list[str]]:
    """The lookup's answer, and its warnings."""
    with mock.patch.object(registry.LookupModule, "set_options"), mock.patch.object(registry, "display") as display:
        found = registry.LookupModule().run([str(term) for term in terms])
    return found, [call.args[0] for call in display.warning.call_args_list]


def test_plugins_and_what_is_none(tmp_path: pathlib.Path) -> None:
    for name, text in {"ecc": "version: 2.0.1\nruntimes: [claude_code]\n", "a-bare-one": "{}", "broken": "- no\n", "Bad Name": "{}", ".hidden": "{}"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "plugin.yaml").write_text(text)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ecc")
    (tmp_path / "README.md").touch()
    found, warnings = run(tmp_path)
    assert found == [{"name": "a-bare-one", "version": None, "runtimes": []}, {"name": "ecc", "version": "2.0.1", "runtimes": ["claude_code"]}]
    assert len(warnings) == 4 and all(str(tmp_path) in warning for warning in warnings)


def test_what_is_no_registry(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AnsibleLookupError, match="cannot be listed"):
        run(tmp_path / "missing")


def playbook(*arguments: str) -> subprocess.CompletedProcess[str]:
    collections = pathlib.Path(__file__).resolve().parents[4] / ".cache" / "collections"
    return subprocess.run(
        [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "molecule_ai.workspace.registry", *arguments],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}, "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_NOCOLOR": "true", "ANSIBLE_SHOW_CUSTOM_STATS": "true", "ANSIBLE_LOCALHOST_WARNING": "false",
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_playbook_lists_them_and_leaves_them_as_artifacts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ecc").mkdir()
    (tmp_path / "ecc" / "plugin.yaml").write_text("version: 2.0.1\nruntimes: [claude_code]\n")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "plugin.yaml").write_text("{}")
    listed = playbook("-e", f"plugins_registry={tmp_path}")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert '"bare without a version"' in listed.stdout and '"ecc 2.0.1"' in listed.stdout and "changed=0" in listed.stdout
    artifacts = json.loads(re.search(r"RUN: (\{.*\})", listed.stdout)[1])
    assert artifacts == {"workspace_registry_plugins": [
        {"name": "bare", "version": None, "runtimes": []}, {"name": "ecc", "version": "2.0.1", "runtimes": ["claude_code"]}]}
    refused = playbook()
    assert refused.returncode == 2 and "set plugins_registry to the directory" in refused.stdout and "Traceback" not in refused.stderr
