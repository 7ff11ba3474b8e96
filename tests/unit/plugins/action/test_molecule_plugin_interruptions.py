# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action when something dies, lies, is lost or comes in between."""
from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from typing import Any
from unittest import mock

import pytest
from action_workspace import Workspace, plugin
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible_collections.molecule_ai.workspace.plugins.action import molecule_plugin
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_slot, transfer_ids
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import processes


def test_a_full_disk_while_sending_is_no_unreachable_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.pipelines = False

    def fail(_workspace: Workspace, local: str, remote: str) -> None:
        raise AnsibleConnectionFailure(f"500 Server Error: Error processing tar file: write {remote}: no space left on device")

    monkeypatch.setattr(Workspace, "_transfer_file", fail)
    with pytest.raises(AnsibleActionFail, match=r"^the workspace has no space left for the \d+ bytes of the plugins in .*: nothing was changed; make room"):
        workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", "mkdir", "rmdir"]


def test_a_connection_that_breaks_while_sending_stays_unreachable(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.pipelines = False

    def fail(_workspace: Workspace, local: str, remote: str) -> None:
        raise AnsibleConnectionFailure("connection closed")

    monkeypatch.setattr(Workspace, "_transfer_file", fail)
    with pytest.raises(AnsibleConnectionFailure, match="connection closed"):
        workspace.run(name="ecc", source="./ecc")


def test_a_rollback_that_died_is_finished_by_the_next_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.answer = workspace.handle  # in this process, where it can be made to die
    workspace.run(name="ecc", source="./ecc")
    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_keep_old", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workspace.run(name="ecc", state="rolled_back")
    result = workspace.run(name="ecc", state="rolled_back")
    assert result["recovered"] == ["finished an interrupted change of plugin 'ecc'"] and result["plugins"][0]["action"] == "none"


def test_what_a_person_changed_is_told_by_the_run_that_finishes_an_interrupted_upgrade(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.answer = workspace.handle  # in this process, where it can be made to die
    workspace.attached = None
    workspace.run(name="ecc", source="./ecc")
    placed = workspace.config_dir / ".claude/hooks/h"
    placed.parent.mkdir(parents=True)
    placed.write_text("#!/bin/sh\n# A person wrote this.\n", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_finish", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workspace.run(name="ecc", state="absent")
    (told,) = workspace.run(plugins=[])["recovered_placements"]
    assert (told["plugin"], told["removed_placements"]) == ("ecc", [])
    assert told["kept"] == [{"path": ".claude/hooks/h", "reason": "changed since it was placed"}] and placed.exists()
    assert workspace.run(plugins=[])["recovered_placements"] == []


def test_a_change_between_inspection_and_apply_is_reported_and_not_overwritten(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    live = workspace.plugins / "ecc/rules/a.md"
    live.write_text("first", encoding="utf-8")

    def interfere(request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] == "apply":
            live.write_text("second", encoding="utf-8")
        return workspace.handle(request)

    workspace.answer = interfere
    with pytest.raises(AnsibleActionFail, match="ecc"):
        workspace.run(name="ecc", source="./ecc")
    assert live.read_text(encoding="utf-8") == "second"
    assert workspace.operations == workspace.trips_of_a_change


def test_an_interrupted_run_is_finished_first(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    calls: list[list[Any]] = []

    def recovering(request: dict[str, Any]) -> dict[str, Any]:
        answer = workspace.handle(request)
        if request["operation"] == "inspect":
            answer["result"]["interrupted"] = [] if calls else ["ecc"]
        else:
            calls.append(request["plugins"])
            answer["result"]["recovered"] = ["finished an interrupted change of plugin 'ecc'"]
        return answer

    workspace.answer = recovering
    predicted = workspace.run(check=True, name="ecc", source="./ecc")
    assert (predicted["changed"], workspace.operations) == (True, ["inspect"])
    assert "an interrupted run has left a change of ecc" in predicted["warnings"][0]
    result = workspace.run(name="ecc", source="./ecc")
    assert workspace.operations == ["inspect", "apply", "inspect"] and "warnings" not in result
    assert (result["changed"], result["recovered"], calls) == (True, ["finished an interrupted change of plugin 'ecc'"], [[]])


def test_another_run_that_was_at_work_is_nothing_that_was_recovered(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    slot = workspace.config_dir / ".molecule_ai/staging/other"
    slot.mkdir()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        answered = workspace.handle(request)
        if slot.exists():
            slot.rmdir()
        return answered

    workspace.answer = answer
    result = workspace.run(name="ecc", source="./ecc")
    assert (workspace.operations, result["recovered"], result["changed"]) == (["inspect", "apply", "inspect"], [], False)


def _interrupt_removal(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a plugin of which a person changes what the runtime has placed, and die while it is being removed."""
    workspace.answer = workspace.handle  # in this process, where it can be made to die
    workspace.run(name="ecc", source="./ecc")
    placed = workspace.config_dir / ".claude/hooks/h"
    placed.parent.mkdir(parents=True)
    placed.write_text("a person", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(plugin_slot.Slot, "_finish", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            workspace.run(name="ecc", state="absent")


def test_a_recovery_is_told_although_the_answer_after_it_was_lost(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupt_removal(workspace, monkeypatch)
    asked = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["operation"])
        return {"failed": True, "module_stdout": "", "module_stderr": ""} if len(asked) == 3 else workspace.handle(request)

    workspace.answer = answer
    result = workspace.run(name="ecc", state="absent")
    assert asked == ["inspect", "apply", "inspect", "inspect"]
    assert (result["changed"], result["recovered"]) == (True, ["finished an interrupted change of plugin 'ecc'"])
    assert [(told["plugin"], len(told["kept"])) for told in result["recovered_placements"]] == [("ecc", 1)]


def test_a_failure_after_a_recovery_tells_of_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupt_removal(workspace, monkeypatch)
    with pytest.raises(AnsibleActionFail) as caught:
        workspace.run(name="nope", state="rolled_back")
    assert "nothing to roll back to" in str(caught.value)
    assert str(caught.value).endswith("nothing was changed; before that, the task had finished an interrupted change of plugin 'ecc'")


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ({"failed": True, "msg": "/configs is not a directory"}, AnsibleActionFail, "^/configs is not a directory$"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": "sh: python3: not found\n"}, AnsibleActionFail, "python3: not found"),
        ({"failed": True, "module_stdout": "Traceback (most recent call last):\n  File x\nOSError: no space\n"}, AnsibleActionFail, "OSError: no space"),
        ({"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": ""}, AnsibleActionFail, "ended on the workspace without an answer"),
        ({"failed": True}, AnsibleActionFail, "gave no reason"),
        ({"unreachable": True, "msg": "the tunnel closed"}, AnsibleConnectionFailure, "the tunnel closed"),
        ({"result": None}, AnsibleActionFail, "an answer that cannot be trusted"),
        ({"result": {"plugins": {}}}, AnsibleActionFail, "an answer that cannot be trusted"),
        ({}, AnsibleActionFail, "an answer that cannot be trusted"),
    ],
)
def test_a_workspace_that_fails_or_lies(workspace: Workspace, returned: dict[str, Any], error: type[Exception], message: str) -> None:
    workspace.answer = lambda request: dict(returned)
    with pytest.raises(error, match=message) as caught:
        workspace.run(name="ecc", source="./ecc")
    assert "\n" not in str(caught.value)


class LosesAnswers:
    """Answers as the workspace does, but for those that are listed: ``before`` and ``after`` it has done what was asked of it, nothing comes back."""

    def __init__(self, workspace: Workspace, **lost: list[str]) -> None:
        self._workspace = workspace
        self._lost = {when: list(operations) for when, operations in lost.items()}

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        nothing = {"failed": True, "msg": "MODULE FAILURE", "module_stdout": "", "module_stderr": ""}
        for when, operations in self._lost.items():
            if operations and operations[0] == request["operation"]:
                del operations[0]
                if when == "after":
                    self._workspace.handle(request)
                return nothing
        return self._workspace.handle(request)


@pytest.mark.parametrize("lost", [{"before": ["inspect"]}, {"before": ["inspect", "apply", "inspect"]}, {"after": ["inspect", "apply"]}, {"after": ["apply"]}])
def test_a_task_whose_answer_was_lost_begins_anew_and_says_what_it_changed(workspace: Workspace, lost: dict[str, list[str]]) -> None:
    workspace.answer = LosesAnswers(workspace, **lost)
    result = workspace.run(name="ecc", source="./ecc")
    assert (result["changed"], result["restart_required"]) == (True, True)
    (done,) = result["plugins"]
    assert (done["action"], done["previous_digest"]) == ("installed", None)
    assert (workspace.plugins / "ecc/rules/a.md").read_text(encoding="utf-8") == "# a\n"
    assert [warning for warning in result["warnings"] if "begun anew" in warning]
    workspace.answer = None
    again = workspace.run(name="ecc", source="./ecc")
    assert again["changed"] is False and "warnings" not in again


def test_an_upgrade_a_removal_and_a_rollback_are_reported_when_their_answer_was_lost(workspace: Workspace) -> None:
    workspace.run(name="ecc", source="./ecc")
    plugin(workspace.directory / "new/ecc", **{"rules/b.md": "# b\n"})
    plugin(workspace.directory / "other")
    workspace.run(name="other", source="./other")
    changes: list[tuple[dict[str, Any], list[str]]] = [
        ({"plugins": [{"name": "ecc", "source": "new/ecc"}], "exclusive": True}, ["upgraded", "removed"]),
        ({"name": "ecc", "state": "rolled_back"}, ["rolled_back"]),
        ({"name": "ecc", "state": "absent"}, ["removed"]),
    ]
    for options, actions in changes:
        workspace.answer = LosesAnswers(workspace, after=["apply"])
        result = workspace.run(**options)
        assert result["changed"] and [done["action"] for done in result["plugins"]] == actions, options
        workspace.answer = None
        assert not workspace.run(**options)["changed"]


def test_what_another_run_has_made_meanwhile_is_not_overwritten_by_a_task_that_begins_anew(workspace: Workspace) -> None:
    """The first request was lost on its way, and another run was faster than the second."""
    plugin(workspace.directory / "theirs/ecc", **{"rules/b.md": "# b\n"})
    loses = LosesAnswers(workspace, before=["apply"])

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["operation"] == "apply" and not loses._lost["before"]:
            return {"failed": True, "msg": "was changed by somebody else since it was inspected: nothing was overwritten, run again"}
        return loses(request)

    workspace.answer = answer
    with pytest.raises(AnsibleActionFail, match="changed by somebody else"):
        workspace.run(name="ecc", source="./ecc")


def test_a_container_that_is_being_restarted_is_waited_for_and_one_that_stays_down_is_unreachable(workspace: Workspace) -> None:
    asked = []

    def stopped(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["operation"])
        raise AnsibleConnectionFailure('The container "ws-1" has been paused (409 Client Error: Conflict ("container abc is not running"))')

    workspace.answer = stopped
    with pytest.raises(AnsibleConnectionFailure, match="container ws-1 stopped while it was being worked in"):
        workspace.run(name="ecc", source="./ecc")
    assert asked == ["inspect"] * 4
    workspace.answer = lambda request: stopped(request) if len(asked) < 6 else workspace.handle(request)
    assert workspace.run(name="ecc", source="./ecc")["changed"]


def test_a_lost_connection_is_a_reason_to_ask_again_only_where_something_had_begun(workspace: Workspace) -> None:
    asked = []

    def lost(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["operation"])
        error = AnsibleConnectionFailure("the connection was lost while a command was running")
        error.outcome_unknown = len(asked) == 1
        raise error

    workspace.answer = lost
    with pytest.raises(AnsibleConnectionFailure, match="was lost"):
        workspace.run(name="ecc", source="./ecc")
    assert asked == ["inspect"] * 2


def test_a_change_that_did_not_arrive_is_an_error(workspace: Workspace) -> None:
    def lie(request: dict[str, Any]) -> dict[str, Any]:
        answer = workspace.handle(request)
        if request["operation"] == "apply":
            answer["result"]["plugins"]["ecc"]["digest"] = "sha256:" + "0" * 64
        return answer

    workspace.answer = lie
    with pytest.raises(AnsibleActionFail, match="plugin ecc is not what it should be"):
        workspace.run(name="ecc", source="./ecc")


def test_an_error_of_the_connection_is_not_its_own_cause(workspace: Workspace) -> None:
    """ansible-core follows causes to their end; one that is its own cause would keep a worker busy for ever."""
    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        raise AnsibleError("the option region is wrong")

    workspace.answer = refuse
    with pytest.raises(AnsibleError, match="the option region is wrong") as caught:
        workspace.run(name="ecc", source="./ecc")
    seen: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__


@pytest.mark.parametrize("to_do", [True, False], ids=["something-to-do", "nothing-to-do"])
def test_what_a_process_that_has_ended_was_sending_is_removed_at_once(workspace: Workspace, to_do: bool) -> None:
    workspace.run(name="ecc", source="./ecc")
    incoming = workspace.config_dir / ".molecule_ai/incoming"
    incoming.mkdir(mode=0o700, exist_ok=True)
    with subprocess.Popen(["sleep", "60"]) as ended:
        abandoned = transfer_ids.make(processes.name_of(ended.pid))
        ended.kill()
    here = abandoned.partition("-")[0]
    others = [transfer_ids.make(processes.name_of(os.getpid())), transfer_ids.make(""), abandoned.replace(here, "0" * 16), "something else"]
    for name in (abandoned, *others):
        (incoming / name).write_bytes(b"x" * 100)
    options = {"name": "ecc", "state": "absent"} if to_do else {"name": "ecc", "source": "./ecc"}
    assert workspace.run(check=True, **options)["changed"] is to_do and sorted(os.listdir(incoming)) == sorted([abandoned, *others])
    assert workspace.run(**options)["changed"] is to_do
    assert sorted(os.listdir(incoming)) == sorted(others) and workspace.operations == ["inspect", "apply"]
    workspace.run(**options)
    assert workspace.operations == ["inspect"]


@pytest.mark.parametrize("workspace", [True], indirect=True, ids=["carried"])
def test_a_worker_that_is_killed_between_two_pieces_leaves_nothing_behind_the_next_run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(molecule_plugin, "MAX_ATTACHED_BYTES", 300)
    workspace.run(plugins=[])
    pieces = []

    def die_after_two_pieces(request: dict[str, Any]) -> dict[str, Any]:
        answer = workspace.handle(request)
        pieces.append(request["operation"])
        if pieces.count("receive") == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    workspace.answer = die_after_two_pieces
    worker = multiprocessing.get_context("fork").Process(target=workspace.run, kwargs={"name": "ecc", "source": "./ecc"})
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    incoming = workspace.config_dir / ".molecule_ai/incoming"
    (left,) = incoming.iterdir()
    assert f"-{worker.pid}-" in left.name and left.stat().st_size == 600 and not (workspace.plugins / "ecc").exists()
    workspace.answer = None
    assert workspace.run(name="ecc", source="./ecc")["plugins"][0]["action"] == "installed"
    assert list(incoming.iterdir()) == [] and (workspace.plugins / "ecc/rules/a.md").exists()
