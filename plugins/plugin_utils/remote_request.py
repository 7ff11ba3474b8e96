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
        raise WorkspaceError(failure(returned))
    return result


def failure(returned: t.Mapping[str, t.Any]) -> str:
    """One sentence for a module that failed, that could not even run, or that something ended."""
    if "module_stderr" not in returned and "module_stdout" not in returned:
        return str(returned.get("msg") or "the workspace gave no reason for its failure: run again with -vvv")
    printed = f"{returned.get('module_stdout') or ''}\n{returned.get('module_stderr') or ''}"
    lines = [line.strip() for line in printed.splitlines() if line.strip() and not line.startswith("Shared connection to ")]
    if not lines:
        # A restart of the container, by whomever, ends everything that runs in it.
        return "the module ended on the workspace without an answer, as when the workspace is restarted or stopped meanwhile: look at it and run again"
    # A shell says first what is wrong, a traceback last.
    reason = lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]
    return f"the workspace could not run the module with its Python ({reason[:_MAX_REASON]}): it needs Python 3.8 or newer, see ansible_python_interpreter"
