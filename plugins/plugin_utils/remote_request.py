# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action plugin makes of the execution of its module on the workspace."""
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleConnectionFailure

from ..module_utils.errors import WorkspaceError
from .workspace_answer import plain

_MAX_REASON = 300


def result_of(returned: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The ``result`` of a module's execution, in built-in types.

    Raises ``AnsibleConnectionFailure`` (the host is unreachable) and :class:`WorkspaceError`: the module's own sentence, or why it could not even run.
    """
    if returned.get("unreachable"):
        raise AnsibleConnectionFailure(str(returned.get("msg") or "the workspace is unreachable"))
    result = None if returned.get("failed") else plain(returned.get("result"))
    if not isinstance(result, dict):
        raise WorkspaceError(_failure(returned))
    return result


def _failure(returned: t.Mapping[str, t.Any]) -> str:
    if "module_stderr" not in returned and "module_stdout" not in returned:
        return str(returned.get("msg") or "the workspace gave no reason for its failure: run again with -vvv")
    printed = f"{returned.get('module_stdout') or ''}\n{returned.get('module_stderr') or ''}".split("\n")
    reason = next((line.strip() for line in reversed(printed) if line.strip()), "it printed nothing")
    return f"the workspace could not run the module with its Python ({reason[:_MAX_REASON]}): it needs Python 3.8 or newer, see ansible_python_interpreter"
