# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module leaves with the answer to its one request, and what it never carries out."""
from __future__ import annotations

import pytest

pytest.importorskip("ansible")

from ansible_collections.molecule_ai.workspace.plugins.module_utils import host_restart, plugin_request, request_module
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError


class Left(Exception):
    """The module has ended; the arguments are what it gave back."""


class Module:
    """Stands in for AnsibleModule."""

    def __init__(self, request, check_mode=False):
        self.params = {"_request": request}
        self.check_mode = check_mode

    def fail_json(self, **result):
        raise Left(dict(result, failed=True))

    def exit_json(self, **result):
        raise Left(result)


def left(module, changes=lambda request: False, handle=lambda request: {"answered": request}):
    with pytest.raises(Left) as caught:
        request_module.answer(module, changes, handle)
    return caught.value.args[0]


def test_the_answer_is_the_result():
    assert left(Module({"operation": "inspect"})) == {"result": {"answered": {"operation": "inspect"}}}


def test_a_failure_is_its_sentence():
    def handle(request):
        raise WorkspaceError("the disk is full")

    assert left(Module({"operation": "apply"}), handle=handle) == {"msg": "the disk is full", "failed": True}


@pytest.mark.parametrize(
    "error, sentence",
    [
        (MemoryError(), "inspect failed on the workspace (the memory of the workspace is not sufficient): give it more and run again"),
        (RuntimeError("no\nidea"), "inspect failed on the workspace (RuntimeError: no\\nidea): this is a defect, please report it"),
    ],
)
def test_what_nobody_expected_is_not_taken_for_a_python_that_is_too_old(error, sentence):
    def handle(request):
        raise error

    answered = left(Module({"operation": "inspect"}), handle=handle)
    assert answered["failed"] is True and answered["msg"].startswith(sentence)


def test_a_python_without_its_own_modules_is_none_of_our_defects():
    def handle(request):
        raise ImportError("No module named 'tarfile'")

    with pytest.raises(ImportError):
        request_module.answer(Module({"operation": "inspect"}), lambda request: False, handle)


@pytest.mark.parametrize("request_", [None, {}])
def test_without_a_request_nothing_is_done(request_):
    assert "through its action plugin" in left(Module(request_))["msg"]


@pytest.mark.parametrize(
    "piece, request_",
    [
        (plugin_request, {"operation": "apply"}),
        (plugin_request, {"operation": "confirm_restart"}),
        (host_restart, {"operation": "confirm_restart"}),
        (host_restart, {"operation": "restart_host", "dry_run": False}),
    ],
)
def test_what_changes_something_is_never_done_in_check_mode(piece, request_):
    assert "in check mode: nothing was done" in left(Module(request_, check_mode=True), changes=piece.changes)["msg"]


@pytest.mark.parametrize(
    "piece, request_",
    [
        (plugin_request, {"operation": "inspect"}),
        (host_restart, {"operation": "pending_restarts"}),
        (host_restart, {"operation": "restart_host", "dry_run": True}),
    ],
)
def test_what_only_looks_is_done_in_check_mode_too(piece, request_):
    assert "result" in left(Module(request_, check_mode=True), changes=piece.changes)
