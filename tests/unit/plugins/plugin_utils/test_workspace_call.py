# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which directories for Ansible's temporary files may lie in the directory that is the agent's."""
from __future__ import annotations

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.workspace_call import may_lie_in

HERMES = "/home/ubuntu/.hermes"


@pytest.mark.parametrize(
    ("remote_tmp", "config_dir", "may"),
    [
        ("/configs", "/configs", True),
        ("/configs/.molecule_ai/tmp", "/configs", True),
        ("//configs/tmp", "/configs", True),
        ("/tmp/../configs//tmp/", "/configs", True),
        ("~/../ubuntu/.hermes/tmp", HERMES, True),
        ("/configs2/tmp", "/configs", False),
        ("/conf", "/configs", False),
        ("/", "/configs", False),
        ("/var/tmp", HERMES, False),
        ("~/.ansible/tmp", "/configs", False),
        ("~/.ansible/tmp", HERMES, False),
        ("~/.hermes/tmp", HERMES, True),
        ("~ubuntu/.hermes", HERMES, True),
        ("$HOME/.hermes/tmp", HERMES, True),
        ("${HOME}/.ansible/tmp", HERMES, False),
        (".hermes/tmp", HERMES, True),
        (".ansible/tmp", HERMES, False),
        ("/home/$USER/.hermes/tmp", HERMES, True),
        ("/home/$USER/.ansible/tmp", HERMES, False),
        ("/tmp/$USER", "/configs", False),
        ("~/ubuntu/.hermes/tmp", HERMES, True),
        ("~/.ansible/tmp", "/root", True),
        ("~", "/home/ubuntu", True),
    ],
)
def test_what_the_logins_shell_resolves_is_refused_where_it_may_lie_there(remote_tmp: str, config_dir: str, may: bool) -> None:
    assert may_lie_in(remote_tmp, config_dir) is may
