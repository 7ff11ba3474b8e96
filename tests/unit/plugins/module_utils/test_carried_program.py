# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The carried program, run as a workspace runs it: by another Python, on its standard input, with nothing else of ours in sight."""
from __future__ import annotations

import io
import json
import pathlib
import subprocess
import sys

import pytest
from programs import WORKSPACE_PYTHONS, find_python

pytest.importorskip("ansible.constants")  # the controller's part of it is not for every Python

from ansible_collections.molecule_ai.workspace.plugins.module_utils import carried_program
from ansible_collections.molecule_ai.workspace.plugins.module_utils.carried_program import MARK
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import workspace_call
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache


@pytest.fixture(scope="module", params=WORKSPACE_PYTHONS)
def ran(request):
    """Runs the program with each Python that a workspace may have."""
    python = find_python([request.param])
    if python is None:
        pytest.skip(f"not run: no Python {request.param} here")

    def run(stream: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([python, *workspace_call.FLAGS, workspace_call.LOADER], input=stream, capture_output=True, check=False, cwd="/")

    return run


def stream(tmp_path, request, **more) -> bytes:
    return workspace_call.program_stream(RunCache(tmp_path / "cache"), more.get("entry", "plugin_request"), request, more.get("check_mode", False), b"")


def answer(done: subprocess.CompletedProcess[bytes]):
    assert done.stderr == b""
    line = done.stdout.decode()
    assert line.startswith(MARK)
    return json.loads(line[len(MARK) :])


@pytest.fixture
def config_dir(tmp_path):
    (tmp_path / "configs" / "plugins" / "found").mkdir(parents=True)
    return str(tmp_path / "configs")


def test_a_request_is_answered(ran, tmp_path, config_dir):
    request = {"version": 1, "operation": "inspect", "config_dir": config_dir, "plugins": [{"name": "wanted", "state": "absent"}]}
    result = answer(ran(stream(tmp_path, request)))["result"]
    assert result["unmanaged"] == ["found"]
    assert result["plugins"]["wanted"]["exists"] is False


def test_every_entry_has_all_that_it_imports(ran, tmp_path, config_dir):
    request = {"version": 1, "operation": "pending_restarts", "config_dir": config_dir}
    for entry in ("plugin_request", "host_restart"):
        assert answer(ran(stream(tmp_path, request, entry=entry)))["result"]["restart_pending"] == {}


def test_a_failure_is_its_sentence(ran, tmp_path):
    request = {"version": 1, "operation": "inspect", "config_dir": str(tmp_path / "nowhere"), "plugins": []}
    answered = answer(ran(stream(tmp_path, request)))
    assert answered["failed"] is True
    assert "nowhere" in answered["msg"]


def test_check_mode_changes_nothing(ran, tmp_path, config_dir):
    request = {"version": 1, "operation": "apply", "config_dir": config_dir, "plugins": [], "shipment": None}
    assert "check mode" in answer(ran(stream(tmp_path, request, check_mode=True)))["msg"]


def test_a_request_that_was_cut_off_is_not_carried_out(ran, tmp_path, config_dir):
    request = {"version": 1, "operation": "apply", "config_dir": config_dir, "plugins": [], "shipment": None}
    whole = stream(tmp_path, request)
    for length in (len(whole) - 1, len(whole) - len(json.dumps(request)), 3000, 0):
        done = ran(whole[:length])
        assert done.stdout == b""
    assert not (tmp_path / "configs" / ".molecule_ai").exists()


def test_nothing_of_the_environment_has_a_say(ran, tmp_path, config_dir, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('planted')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    request = {"version": 1, "operation": "pending_restarts", "config_dir": config_dir}
    assert "result" in answer(ran(stream(tmp_path, request)))


@pytest.fixture
def here(monkeypatch):
    """Runs the program's text in this process, and forgets its modules afterwards."""

    def run(stream: bytes) -> str:
        file = io.BytesIO(stream)
        program = file.read(int(file.readline()))
        assert program == pathlib.Path(carried_program.__file__).read_bytes()
        return carried_program.run(file)

    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield run
    for name in [name for name in sys.modules if name.partition(".")[0] == carried_program.PACKAGE]:
        del sys.modules[name]


def test_modules_come_from_the_stream_and_are_run_when_they_are_used(here, tmp_path, config_dir):
    request = {"version": 1, "operation": "pending_restarts", "config_dir": config_dir}
    line = here(stream(tmp_path, request))
    assert json.loads(line[len(MARK) :])["result"]["restart_pending"] == {}
    used, unused = (sys.modules[f"{carried_program.PACKAGE}.{name}"] for name in ("plugin_request", "plugin_store"))
    assert used.__spec__.origin == used.__name__ and "handle" in object.__getattribute__(used, "__dict__")
    assert "apply" not in object.__getattribute__(unused, "__dict__"), "nothing was to be changed"
    assert sys.meta_path[0].find_spec("json") is None


def test_a_file_that_goes_with_the_request_reaches_it(here, tmp_path, config_dir):
    request = {"version": 1, "operation": "receive", "config_dir": config_dir, "owner": [0, 0], "transfer": "0" * 32, "offset": 0}
    whole = workspace_call.program_stream(RunCache(tmp_path / "cache"), "plugin_request", request, False, b"a piece")
    assert json.loads(here(whole)[len(MARK) :])["result"] == {"size": len(b"a piece")}


def test_a_request_that_was_cut_off_says_that_nothing_was_done(here, tmp_path, config_dir):
    request = {"version": 1, "operation": "pending_restarts", "config_dir": config_dir}
    with pytest.raises(EOFError, match="nothing was done"):
        here(stream(tmp_path, request)[:-1])
