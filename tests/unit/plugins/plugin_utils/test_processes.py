# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process is known by its name, and taken for ended only where that is certain."""
from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import transfer_ids
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import processes


def test_a_process_is_over_as_soon_as_it_has_ended_also_when_nobody_has_taken_note() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        name = processes.name_of(process.pid)
        assert re.fullmatch(r"[0-9a-f]{16}-[0-9]+-[0-9]+", name) and not processes.is_over(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert processes.is_over(name) and processes.name_of(process.pid) == ""
    assert processes.is_over(name)


def test_only_a_process_of_the_same_kernel_and_namespace_is_judged() -> None:
    here, _process, started = processes.name_of(os.getpid()).split("-")
    assert processes.is_over(f"{here}-999999999-1") and processes.is_over(f"{here}-{os.getpid()}-1"), "the id is another process's by now"
    elsewhere = "0" * 16
    for name in (f"{elsewhere}-999999999-1", "", "-999999999-1", here, f"{here}-x-1", f"{here}-{os.getpid()}-{started}", f"{here}-{2**80}-1"):
        assert not processes.is_over(name), name


@pytest.mark.parametrize("unknown", [["", "pid:[1]"], ["kernel", ""]])
def test_where_nothing_tells_controllers_apart_nobody_is_named_or_judged(monkeypatch: pytest.MonkeyPatch, unknown: list[str]) -> None:
    monkeypatch.setattr(processes, "place", lambda: unknown)
    assert processes.name_of(os.getpid()) == "" and not processes.is_over("-999999999-1")


def test_a_process_that_lives_but_cannot_be_looked_at_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, *_arguments: object, **_options: object) -> object:
        raise OSError(24, "Too many open files")

    name = processes.name_of(os.getpid())
    here = processes.place()
    monkeypatch.setattr(processes, "place", lambda: here)
    monkeypatch.setattr("builtins.open", refuse)
    assert not processes.is_over(name) and processes.name_of(os.getpid()) == ""


def test_an_id_of_a_transfer_says_who_sends_it() -> None:
    sender = processes.name_of(os.getpid())
    named, unnamed = transfer_ids.make(sender), transfer_ids.make("")
    assert transfer_ids.validate(named) == named and transfer_ids.sender_of(named) == sender
    assert transfer_ids.validate(unnamed) == unnamed and transfer_ids.sender_of(unnamed) == ""
    assert transfer_ids.make(sender) != named and len(pathlib.Path(named).parts) == 1
    for wrong in (None, "", "../" + named, named + "\n", f"{sender}-", f"-{unnamed}", "x" * 32, f"{'0' * 16}-{'1' * 11}-1-{unnamed}"):
        with pytest.raises(InvalidInputError, match="32 hexadecimal digits"):
            transfer_ids.validate(wrong)
        assert transfer_ids.sender_of(str(wrong)) == ""
