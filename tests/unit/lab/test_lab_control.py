# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switchboard, and the whole service as a process."""
from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import pytest
import requests
from conftest import RUNNING, RunningLab, small_world
from lab.faults import Faults


def call(lab: RunningLab, method: str, path: str, document: Any = None) -> requests.Response:
    return requests.request(method, lab.addresses["control_url"] + path, json=document, timeout=10)


def test_faults_are_switched_on_and_off(lab: RunningLab) -> None:
    added = call(lab, "POST", "/faults", {"name": "throttle_push", "count": 3, "instance_id": RUNNING})
    assert (added.status_code, added.json()["remaining"]) == (201, 3)
    call(lab, "POST", "/faults", {"name": "slow", "bytes_per_second": 1000})
    assert [fault["name"] for fault in call(lab, "GET", "/faults").json()["faults"]] == ["throttle_push", "slow"]
    assert call(lab, "DELETE", f"/faults/{added.json()['number']}").json() == {"removed": 1}
    assert call(lab, "DELETE", "/faults?name=other").json() == {"removed": 0}
    assert call(lab, "DELETE", "/faults").json() == {"removed": 1}


@pytest.mark.parametrize("wrong", [
    {"name": "no_such"}, {}, {"name": "slow", "bytes": 1}, {"name": "slow", "direction": "sideways"}, {"name": "slow", "bytes_per_second": "1"},
    {"name": "hang_tls", "instance_id": RUNNING}, {"name": "slow", "count": 0}, {"name": "slow", "probability": 2}, []])
def test_a_fault_that_makes_no_sense_is_refused_with_a_reason(lab: RunningLab, wrong: Any) -> None:
    answer = call(lab, "POST", "/faults", wrong)
    assert answer.status_code == 400 and answer.json()["error"]
    assert lab.state.faults.as_list() == []


def test_a_fault_can_strike_now_and_then() -> None:
    faults = Faults(seed=1)
    faults.add({"name": "deny_push", "probability": 0.25})
    struck = sum(faults.take("deny_push") is not None for _index in range(1000))
    assert 200 < struck < 300


def test_settings_are_changed_and_reset(lab: RunningLab) -> None:
    assert call(lab, "PUT", "/settings", {"tunnel_quota": 3, "key_lifetime": 2}).json()["settings"]["tunnel_quota"] == 3
    for wrong in ({"no_such": 1}, {"tunnel_quota": "3"}, {"require_max_tunnel_duration": 1}, {"tunnel_quota": True}):
        assert call(lab, "PUT", "/settings", wrong).status_code == 400
    assert call(lab, "DELETE", "/settings").json()["settings"]["tunnel_quota"] == 20


def test_counters_are_shown_and_reset(lab: RunningLab) -> None:
    lab.client("sts").get_caller_identity()
    assert call(lab, "GET", "/counters").json()["caller_identities"] == 1
    assert call(lab, "POST", "/counters/reset").json()["caller_identities"] == 0


def test_the_service_says_when_it_is_ready_and_ends_cleanly_on_sigterm() -> None:
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        directory = pathlib.Path(name)
        (directory / "world.json").write_text(json.dumps(small_world(directory)))
        tests = pathlib.Path(__file__).resolve().parents[2]
        process = subprocess.Popen([sys.executable, "-m", "lab.service", "--state", name], cwd=tests, stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + 20
            while not (directory / "service.json").exists() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.05)
            service = json.loads((directory / "service.json").read_text())
            assert service["pid"] == process.pid
            assert requests.get(service["control_url"] + "/counters", timeout=10).json()["tunnels"] == 0
            process.send_signal(signal.SIGTERM)
            _output, errors = process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode == 0 and "Traceback" not in errors
        assert not (directory / "service.json").exists() and not list(directory.glob("engines/*/docker.sock"))
