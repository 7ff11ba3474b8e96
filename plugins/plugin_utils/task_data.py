# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action plugin gets from Ansible, in built-in types: values, variables of the host, and what its module answered on the workspace."""
from __future__ import annotations

import getpass
import os
import re
from typing import Any, Callable, Mapping

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

from ..module_utils.errors import InvalidInputError, WorkspaceError

_MAX_REASON = 300
# What core's ssh connection raises, and what sudo, su and doas print, when they let nobody become root.
_NO_RIGHTS = re.compile(
    r"(?:Missing|Incorrect) \S+ password|^(?:sudo|su|doas): .*|^Sorry, .*|\S+ is not in the sudoers file.*|(?:sudo|doas): (?:command )?not found"
)
# In the words of the connection plugin docker_api of community.docker, by what the engine answers: before the process exists, or when it is to begin.
_STOPPED_CONTAINER = re.compile(
    r'container "([^"]*)"(?: has been paused .*409.*is (?:not running|restarting)|: 500 .*is (?:not running|restarting)|.*No such exec instance)', re.DOTALL
)

# What runc, containerd ("cannot exec in a ... state", process/init_state.go) and the engine say instead of starting a process in a container that is being
# stopped. Where the program is what is missing, it is named behind "exec:".
_NOT_STARTED = re.compile(r'(?:OCI runtime exec failed: |cannot exec in a |task \S+ not found|container not running|ttrpc: closed)(?!.*\bexec: ")')


class AnswerLost(WorkspaceError):
    """What was asked of the workspace ended without an answer, so how far it came is unknown."""


def plain(value: object) -> Any:
    """Return ``value`` with built-in types only: what comes from Ansible carries tags and lazy templates in subclasses of them."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise WorkspaceError(f"a value of the type {type(value).__name__} is not what a task or a workspace can say: use texts, numbers, lists and dictionaries")


def variable(name: str, task_vars: Mapping[str, Any], template: Callable[[Any], Any]) -> Any:
    """Return a variable of the host, or else its fact of that name, templated; None without either."""
    value = task_vars.get(name, (task_vars.get("ansible_facts") or {}).get(name))
    return plain(template(value)) if value is not None else None


def backend_fact(task_vars: Mapping[str, Any], template: Callable[[Any], Any]) -> dict[str, Any]:
    """Return what is known of this host's backend, empty if nothing is; raise :class:`InvalidInputError` for anything else.

    A fact was found by ``workspace_backend_facts`` in this run, and so counts before the variable, which is from the inventory.
    """
    facts = task_vars.get("ansible_facts") or {}
    fact = variable("workspace_backend", {"ansible_facts": facts} if facts.get("workspace_backend") else task_vars, template)
    if fact is not None and not isinstance(fact, dict):
        raise InvalidInputError("the variable workspace_backend must be what molecule_ai.workspace.workspace_backend_facts or the inventory sets")
    return fact or {}


def failure(error: WorkspaceError | AnsibleActionFail) -> AnsibleActionFail:
    """Return how a task fails for ``error``: with its sentence alone. Up to ansible-core 2.18 the result would hold a traceback as well."""
    failed = error if isinstance(error, AnsibleActionFail) else AnsibleActionFail(str(error))
    failed.result.pop("exception", None)
    return failed


def unreachable(error: AnsibleConnectionFailure) -> AnsibleConnectionFailure:
    """Return ``error``, or a sentence that is true: Docker's connection plugin calls each container paused in which nothing can be executed."""
    stopped = _STOPPED_CONTAINER.search(str(error))
    if stopped is None:
        return error
    return AnsibleConnectionFailure(
        f"container {stopped.group(1)} stopped while it was being worked in, or somebody restarted it: read 'docker logs {stopped.group(1)}', start it if it "
        "is still down, and run again: what was begun is finished then"
    )


def is_interruption(error: Exception) -> bool:
    """Tell whether ``error`` says that the workspace was restarted, or the connection lost, while it was at work or about to begin.

    A connection plugin says so by an attribute ``outcome_unknown`` of its error.
    """
    if isinstance(error, AnsibleConnectionFailure):
        return bool(getattr(error, "outcome_unknown", False)) or _STOPPED_CONTAINER.search(str(error)) is not None
    return isinstance(error, AnswerLost)


def without_rights(said: str, login: str) -> WorkspaceError | None:
    """Return the sentence about a login (``user on host``) that may not become root, if that is what ``said`` says; None for anything else."""
    found = _NO_RIGHTS.search(said)
    if found is None:
        return None
    return WorkspaceError(
        f"{login} cannot become root ({found.group(0)[:_MAX_REASON]}), and the workspace's files are root's: allow it sudo without a password there "
        "(NOPASSWD in /etc/sudoers.d), or set ansible_become_password for this host"
    )


def result_of(returned: Mapping[str, Any], login: str) -> dict[str, Any]:
    """Return the ``result`` of a module's execution on the workspace, as ``login`` (``user on host``).

    Raises ``AnsibleConnectionFailure`` (the host is unreachable) and :class:`WorkspaceError`: the module's own sentence, why it could not even run, or, as
    :class:`AnswerLost`, that something ended it.
    """
    if returned.get("unreachable"):
        raise AnsibleConnectionFailure(str(returned.get("msg") or "the workspace is unreachable"))
    if returned.get("failed"):
        raise without_rights(_first_line(returned), login) or _failure(returned)
    result = plain(returned.get("result"))
    if not isinstance(result, dict):
        raise WorkspaceError("the workspace gave an answer that cannot be trusted (it has no result): check what answers under this host's connection")
    return result


def _printed(returned: Mapping[str, Any]) -> list[str]:
    """Return the lines that were printed in the place of an answer."""
    printed = f"{returned.get('module_stdout') or ''}\n{returned.get('module_stderr') or ''}"
    return [line.strip() for line in printed.splitlines() if line.strip() and not line.startswith("Shared connection to ")]


def _first_line(returned: Mapping[str, Any]) -> str:
    return next(iter(_printed(returned)), "")


def _failure(returned: Mapping[str, Any]) -> WorkspaceError:
    """Return the error of a module that failed, that could not even run, or that something ended."""
    if "module_stderr" not in returned and "module_stdout" not in returned:
        return WorkspaceError(str(returned.get("msg") or "the workspace gave no reason for its failure: run again with -vvv"))
    lines = _printed(returned)
    if not lines or _NOT_STARTED.match(lines[0]):
        # A restart of the container, by whomever, ends everything that runs in it.
        return AnswerLost(
            "the module ended on the workspace without an answer, as when the workspace is restarted or stopped meanwhile: look at it and run again"
        )
    # A shell says first what is wrong, a traceback last.
    reason = lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]
    return WorkspaceError(
        f"the workspace could not run the module with its Python ({reason[:_MAX_REASON]}): it needs Python 3.8 or newer in one of root's directories of "
        "programs, or ansible_python_interpreter with its full path"
    )


def user_name() -> str:
    """Return who runs Ansible here, for receipts and reports."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a uid that has no name.
        return str(os.getuid())
