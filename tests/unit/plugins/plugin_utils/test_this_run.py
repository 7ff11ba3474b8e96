# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker notices that the run that forked it has been killed, and begins nothing any more."""
from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
import typing as t
from multiprocessing.connection import Connection
from types import SimpleNamespace

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import restart, this_run
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.workspace_call import WorkspaceCall

FORK = multiprocessing.get_context("fork")


def _work(answers: Connection, do: t.Callable[[], object], run: int) -> None:
    """What a worker does before and after its run is killed."""
    answers.send((this_run.process(), _said_by(do)))
    while os.getppid() == run:
        time.sleep(0.01)
    answers.send((this_run.process(), _said_by(do)))


def _said_by(do: t.Callable[[], object]) -> str:
    try:
        return str(do())
    except WorkspaceError as error:
        return str(error)


def _lead(answers: Connection, do: t.Callable[[], object], ended: Connection) -> None:
    FORK.Process(target=_work, args=(answers, do, os.getpid())).start()
    ended.recv()


def before_and_after(do: t.Callable[[], object]) -> tuple[int, list[tuple[int, str]]]:
    """The process id of a run, and what its worker says before and after it was killed: its run's process id, and what became of ``do``."""
    receiving, sending = FORK.Pipe(duplex=False)
    never, ending = FORK.Pipe(duplex=False)
    run = FORK.Process(target=_lead, args=(sending, do, never))
    run.start()
    said = []
    try:
        assert receiving.poll(60)
        said.append(receiving.recv())
    finally:
        os.kill(run.pid or 0, signal.SIGKILL)
        run.join()
    assert receiving.poll(60)
    said.append(receiving.recv())
    ending.close()
    return run.pid or 0, said


class Call(WorkspaceCall):
    """Requests that go nowhere."""

    def __init__(self) -> None:
        self._action = SimpleNamespace(_get_remote_user=lambda: "ubuntu", _play_context=SimpleNamespace(remote_addr="test"))
        self._interpreters = ["python3"]

    def _require_safe_temporary_directory(self, config_dir: str) -> None:
        pass

    def _carry(self, entry: str, request: dict[str, t.Any], attached: bytes) -> dict[str, t.Any]:
        return {"result": {"done": request["operation"]}}


def ask(operation: str, **fields: object) -> t.Callable[[], object]:
    return lambda: Call().ask("", "host_restart", {"operation": operation, "config_dir": "/configs", **fields})["done"]


class Restart(restart.ControllerMethod):
    """A way to restart that always works."""

    def _ensure_possible(self) -> None:
        pass

    def _restart(self, pending: dict[str, str], result: dict[str, t.Any]) -> None:
        result["method"] = "restarted"


def restart_from_controller() -> object:
    runtime = restart.Runtime("docker", "/configs", None, "ws-one", None)
    method = Restart(runtime, {"method": "in_place", "force": True}, lambda request: {"restart_pending": {}, "problems": []})
    return method.run(check_mode=False)["method"]


@pytest.mark.parametrize(
    "do",
    [ask("receive"), ask("apply"), ask("restart_host", dry_run=False), restart_from_controller],
    ids=["receive", "apply", "restart_host", "controller"],
)
def test_a_worker_whose_run_was_killed_changes_nothing(do: t.Callable[[], object]) -> None:
    run, ((process, before), (process_after, after)) = before_and_after(do)
    assert process == process_after == run
    assert before in ("receive", "apply", "restart_host", "restarted")
    assert re.fullmatch(rf"the run that this task belongs to \(process {run}\) has ended: the task does nothing more, run again", after)


@pytest.mark.parametrize("operation", ["inspect", "read", "pending_restarts", "confirm_restart"])
def test_it_may_look_and_note_what_has_happened(operation: str) -> None:
    _run, said = before_and_after(ask(operation))
    assert [outcome for _process, outcome in said] == [operation, operation]


def test_the_main_process_is_its_own_run() -> None:
    assert this_run.process() == os.getpid()
    this_run.require_alive()
