# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which the execution of a module on the workspace can end."""
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.remote_request import result_of


def test_a_result_is_given_back() -> None:
    assert result_of({"changed": False, "result": {"restart_pending": {"ecc": "1"}}}) == {"restart_pending": {"ecc": "1"}}


def test_unreachable_stays_unreachable() -> None:
    with pytest.raises(AnsibleConnectionFailure, match="no route"):
        result_of({"unreachable": True, "msg": "no route"})


@pytest.mark.parametrize(
    ("returned", "part"),
    [
        ({"failed": True, "msg": "the config dir /configs is missing"}, "the config dir /configs is missing"),
        ({"failed": True}, "gave no reason"),
        ({"result": "text"}, "gave no reason"),
        ({"failed": True, "msg": "MODULE FAILURE\nSee stdout", "module_stdout": "", "module_stderr": "sh: python3: not found\n"}, "(sh: python3: not found)"),
        ({"failed": True, "module_stdout": "\n"}, "ended on the workspace without an answer"),
        ({"failed": True, "module_stdout": "Traceback (most recent call last):\n  File x\nOSError: no space\n"}, "(OSError: no space)"),
        ({"failed": True, "module_stderr": "x" * 5000}, "it needs Python 3.8"),
    ],
)
def test_a_failure_is_one_sentence(returned: dict[str, t.Any], part: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        result_of(returned)
    message = str(caught.value)
    assert part in message
    assert "\n" not in message and len(message) < 500
