# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the installed core's ssh plugin reads, ours has: a new core must not break the connection."""
from __future__ import annotations

import pathlib
import re

import yaml
from ansible.plugins.connection import ssh
from ansible_collections.molecule_ai.workspace.plugins.connection import eic
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import ssh_options

OURS = {**yaml.safe_load(ssh_options.ModuleDocFragment.DOCUMENTATION)["options"], **yaml.safe_load(eic.DOCUMENTATION)["options"]}


def test_every_option_that_the_installed_core_reads_is_there() -> None:
    read = set(re.findall(r"""get_option\(\s*['"]([a-z0-9_]+)['"]""", pathlib.Path(ssh.__file__).read_text()))
    # this one belongs to the become plugin
    read.discard("become_pass")
    assert len(read) > 15
    assert read <= set(OURS)


def test_every_documented_option_of_the_installed_core_is_there() -> None:
    assert set(yaml.safe_load(ssh.DOCUMENTATION)["options"]) <= set(OURS)


def test_nothing_speaks_of_cores_releases() -> None:
    text = ssh_options.ModuleDocFragment.DOCUMENTATION
    assert "version_added" not in text and "deprecated:" not in text


def test_our_defaults() -> None:
    assert OURS["pipelining"]["default"] is True
    assert OURS["remote_user"]["default"] == "ubuntu"


def test_our_own_variables_have_our_prefix() -> None:
    own = yaml.safe_load(eic.DOCUMENTATION)["options"]
    assert all({"name": f"ansible_eic_{name}"} in option["vars"] for name, option in own.items())
