# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action plugin gets from Ansible: plain values, variables, and every way in which the execution of a module on the workspace can end."""
from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import task_data
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.task_data import (
    backend_fact,
    plain,
    result_of,
    unreachable,
    variable,
    without_rights,
)

LOGIN = "user ubuntu on i-0123456789abcdef0"


def test_a_result_is_given_back() -> None:
    assert result_of({"changed": False, "result": {"restart_pending": {"ecc": "1"}}}, LOGIN) == {"restart_pending": {"ecc": "1"}}


def test_unreachable_stays_unreachable() -> None:
    with pytest.raises(AnsibleConnectionFailure, match="no route"):
        result_of({"unreachable": True, "msg": "no route"}, LOGIN)


@pytest.mark.parametrize(
    ("returned", "part"),
    [
        ({"failed": True, "msg": "the config dir /configs is missing"}, "the config dir /configs is missing"),
        ({"failed": True}, "gave no reason"),
        ({"result": "text"}, "cannot be trusted"),
        ({"failed": True, "msg": "MODULE FAILURE\nSee stdout", "module_stdout": "", "module_stderr": "sh: python3: not found\n"}, "(sh: python3: not found)"),
        ({"failed": True, "module_stdout": "\n"}, "ended on the workspace without an answer"),
        ({"failed": True, "module_stdout": "python3: not found\nbye\n", "module_stderr": "Shared connection to x closed.\n"}, "(python3: not found)"),
        ({"failed": True, "module_stderr": "Traceback (most recent call last):\n  at x\nMemoryError\n"}, "(MemoryError)"),
        ({"failed": True, "module_stderr": "sudo: a password is required\n"}, f"{LOGIN} cannot become root (sudo: a password is required)"),
        ({"failed": True, "module_stdout": "", "module_stderr": "ubuntu is not in the sudoers file.\n"}, "NOPASSWD in /etc/sudoers.d"),
        ({"failed": True, "module_stderr": "/bin/sh: 1: sudo: not found\n"}, "(sudo: not found), and the workspace's files are root's"),
        ({"failed": True, "module_stderr": "x" * 5000}, "it needs Python 3.8"),
    ],
)
def test_a_failure_is_one_sentence(returned: dict[str, t.Any], part: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        result_of(returned, LOGIN)
    message = str(caught.value)
    assert part in message
    assert "\n" not in message and len(message) < 500


def test_only_what_is_about_rights_is_called_that() -> None:
    for said in ("Missing sudo password", "Incorrect sudo password"):
        assert said in str(without_rights(said, LOGIN))
    assert without_rights("Failed to connect to the host: su is no word of it", LOGIN) is None


def test_plain_gives_builtin_types() -> None:
    class Tagged(str):
        pass

    class Number(int):
        pass

    value = plain({Tagged("a"): [Tagged("b"), Number(1), 1.5, True, None, (Tagged("c"),)]})
    assert value == {"a": ["b", 1, 1.5, True, None, ["c"]]}
    assert {type(item) for item in (*value, *value["a"])} == {str, int, float, bool, type(None), list}
    with pytest.raises(WorkspaceError):
        plain(object())


def test_a_variable_wins_over_the_fact_of_its_name() -> None:
    def template(value: t.Any) -> t.Any:
        return f"templated {value}"

    assert variable("x", {"x": 1, "ansible_facts": {"x": 2}}, template) == "templated 1"
    assert variable("x", {"ansible_facts": {"x": 2}}, template) == "templated 2"
    assert variable("x", {}, template) is None


def test_the_backend_is_a_fact_or_nothing() -> None:
    assert backend_fact({"ansible_facts": {"workspace_backend": {"tier": "eic"}}}, lambda value: value) == {"tier": "eic"}
    assert backend_fact({}, lambda value: value) == {}
    # what a task has found since counts before what the inventory found
    both = {"workspace_backend": {"tier": "eic"}, "ansible_facts": {"workspace_backend": {"tier": "docker"}}}
    assert backend_fact(both, lambda value: value) == {"tier": "docker"}
    assert backend_fact({"workspace_backend": {"tier": "eic"}, "ansible_facts": {}}, lambda value: value) == {"tier": "eic"}
    with pytest.raises(InvalidInputError, match="must be what"):
        backend_fact({"workspace_backend": "eic"}, lambda value: value)


@pytest.mark.parametrize("state", ["not running", "restarting, wait until the container is running"])
def test_a_container_that_stopped_is_not_called_paused(state: str) -> None:
    text = f'The container "ws-1" has been paused (409 Client Error for http+docker://localhost/exec: Conflict ("container 5f0c is {state}"))'
    sentence = str(unreachable(AnsibleConnectionFailure(text)))
    assert sentence.startswith("container ws-1 stopped while it was being worked in") and "409" not in sentence
    paused = AnsibleConnectionFailure('The container "ws-1" has been paused (409 Client Error: Conflict ("container 5f0c is paused, unpause first"))')
    assert unreachable(paused) is paused


class _Lost(AnsibleConnectionFailure):
    outcome_unknown = True


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (task_data.AnswerLost("the module ended without an answer"), True),
        (WorkspaceError("/configs is missing"), False),
        (_Lost("the connection was lost while a command was running"), True),
        (AnsibleConnectionFailure("no route to host"), False),
        (AnsibleConnectionFailure('The container "ws-1" has been paused (409 Client Error: Conflict ("container 1a is restarting, wait"))'), True),
        (AnsibleConnectionFailure('The container "ws-1" has been paused (409 Client Error: Conflict ("container 1a is paused, unpause it"))'), False),
        (AnsibleConnectionFailure('An unexpected Docker error occurred for container "ws-1": 500 Server Error for http+docker://localhost/v1.41/exec/a/start: '
                                  'Internal Server Error ("Container 1a is not running: Exited (0) Less than a second ago")'), True),
        (AnsibleConnectionFailure('An unexpected Docker error occurred for container "ws-1": 500 Server Error ("no space left on device")'), False),
        (AnsibleConnectionFailure('Could not find container "ws-1" or resource in it (404 Client Error: Not Found ("No such exec instance: a"))'), True),
        (AnsibleConnectionFailure('Could not find container "ws-1" or resource in it (404 Client Error: Not Found ("No such container: ws-1"))'), False),
    ],
)
def test_what_is_worth_asking_again(error: Exception, expected: bool) -> None:
    assert task_data.is_interruption(error) is expected


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("OCI runtime exec failed: exec failed: unable to start container process: error executing setns process: exit status 1: unknown", True),
        ("OCI runtime exec failed: exec failed: cannot exec in a stopped container: unknown", True),
        ("cannot exec in a stopped state: unknown", True),
        ("cannot exec in a deleted state: unknown", True),
        ("task 5f0c1d not found: not found", True),
        ('OCI runtime exec failed: exec failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown', False),
        ("/bin/sh: 1: OCI runtime exec failed: no", False),
    ],
)
@pytest.mark.parametrize("stream", ["module_stdout", "module_stderr"])
def test_a_process_that_a_stopping_container_did_not_start_is_asked_for_again(said: str, lost: bool, stream: str) -> None:
    returned = {"failed": True, "module_stdout": "", "module_stderr": "", "rc": 126, stream: f"{said}\r\n"}
    with pytest.raises(WorkspaceError) as caught:
        task_data.result_of(returned, "root on ws-1")
    assert task_data.is_interruption(caught.value) is lost
