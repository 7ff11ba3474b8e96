# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More hosts than tunnels: the endpoint never has to refuse one, and everybody gets a turn.

A small endpoint by default; ``EIC_FLEET=60 pytest tests/system/test_eic_budget.py`` is the full size: 20 tunnels, of which the budget
takes 18, and ``EIC_FORKS`` (50).
"""
from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from ansible_run import Run
from lab.api import Lab
from lab.fleet import fleet
from lab.world import ENDPOINT_ID

FULL = int(os.environ.get("EIC_FLEET", "0"))
HOSTS, QUOTA, BUDGET, FORKS = (FULL, 20, 18, int(os.environ.get("EIC_FORKS", "50"))) if FULL else (8, 4, 3, 8)
TASKS = 3

Play = Callable[..., pathlib.Path]


@pytest.fixture(autouse=True)
def left_open(lab: Lab, fresh_connections: None) -> Iterator[int]:
    """An endpoint with few tunnels; those that other tests have left for a minute come on top."""
    lab.clear_faults()
    others = int(lab.reset_counters()["tunnels_open"])
    lab.settings(tunnel_quota=QUOTA + others)
    yield others
    lab.reset_settings()


@pytest.fixture
def hosts(lab: Lab) -> Iterator[list[dict[str, Any]]]:
    """The records of many instances in one VPC."""
    with fleet(lab.world, HOSTS) as instances:
        yield instances


@pytest.fixture
def inventory(lab: Lab, hosts: list[dict[str, Any]], tmp_path: pathlib.Path) -> pathlib.Path:
    """The instances as an inventory, with state of their own."""
    variables = yaml.safe_load(lab.inventory.read_text())["workspaces"]["vars"]
    variables |= {
        "ansible_connection": "molecule_ai.workspace.eic", "ansible_user": "ubuntu",
        "ansible_eic_state_directory": str(tmp_path / "state"), "ansible_eic_known_hosts_file": str(tmp_path / "known_hosts"),
        "ansible_eic_tunnel_budget": BUDGET, "ansible_eic_tunnel_wait": 300, "ansible_eic_tunnel_timeout": 60, "ansible_ssh_timeout": 60,
    }
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {
        "vars": variables, "hosts": {each["tags"]["Name"]: {"ansible_eic_instance_id": each["instance_id"]} for each in hosts},
    }}))
    return path


@pytest.fixture
def play(tmp_path: pathlib.Path) -> Play:
    """Write a play over all hosts."""

    def write(tasks: list[dict[str, Any]], **keywords: Any) -> pathlib.Path:
        path = tmp_path / "play.yml"
        path.write_text(yaml.safe_dump([{"name": "Fleet", "hosts": "all", "gather_facts": False, "tasks": tasks, **keywords}], sort_keys=False))
        return path

    return write


class Tunnels:
    """What the lab counted since this object was made."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._started = lab, time.monotonic()
        self._before = lab.counters()

    def __getitem__(self, name: str) -> int:
        return int(self._lab.counters()[name] - self._before[name])

    def table(self, what: str) -> str:
        """The measured figures, for the log."""
        peak = self._lab.counters()["tunnels_open_peak_by_endpoint"].get(ENDPOINT_ID)
        return (f"{what}: {time.monotonic() - self._started:.1f} s, {self['tunnels']} tunnels, {self['tunnels_refused']} refused, "
                f"{self['key_pushes']} key pushes, peak {peak}, {self['describe_instances']} instance queries, {self['describe_endpoints']} endpoint queries")


def raw(command: str = "true") -> dict[str, Any]:
    """A task that runs a command without a module around it."""
    return {"name": "Run", "ansible.builtin.raw": command}


def all_ok(run: Run) -> None:
    """Every host did everything."""
    run.ok()
    assert len(run.stats) == HOSTS and {each["ok"] for each in run.stats.values()} == {TASKS}, run.stats


@pytest.mark.parametrize("strategy", ["linear", "host_pinned"])
def test_more_hosts_than_tunnels(
    lab: Lab, ansible: Callable[..., Run], play: Play, inventory: pathlib.Path, left_open: int, strategy: str
) -> None:
    counted = Tunnels(lab)
    run = ansible(play([raw() for _ in range(TASKS)], strategy=strategy), "--forks", str(FORKS), inventory=inventory)
    print(counted.table(f"{HOSTS} hosts, {TASKS} tasks, {strategy}, {FORKS} forks"))
    all_ok(run)
    assert counted["tunnels_refused"] == 0
    assert counted["describe_endpoints"] == 1
    assert counted["describe_instances"] <= 2
    assert lab.counters()["tunnels_open_peak_by_endpoint"][ENDPOINT_ID] <= BUDGET + left_open
    if strategy == "host_pinned":
        # a host keeps its connection until its play is over; on a busy machine a few may lose theirs between two tasks
        assert counted["tunnels"] <= 1.5 * HOSTS


def test_two_plays_share_the_budget(lab: Lab, ansible: Callable[..., Run], play: Play, inventory: pathlib.Path, hosts: list[dict[str, Any]]) -> None:
    counted = Tunnels(lab)
    half = [each["tags"]["Name"] for each in hosts]
    environment = {**os.environ, **lab.environment(), "ANSIBLE_FORKS": str(FORKS), "ANSIBLE_COLLECTIONS_PATH": lab.environment()["ANSIBLE_COLLECTIONS_PATH"]}
    playbook = play([raw() for _ in range(TASKS)])
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook)]
    parts = [half[: HOSTS // 2], half[HOSTS // 2:]]
    plays = [
        subprocess.Popen(
            [*command, "--limit", ",".join(part)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for part in parts
    ]
    outputs = [each.communicate(timeout=600)[0] for each in plays]
    print(counted.table(f"2 plays of {HOSTS // 2} hosts"))
    assert [each.returncode for each in plays] == [0, 0], outputs
    assert counted["tunnels_refused"] == 0


def test_a_running_task_keeps_its_tunnel_and_who_waits_too_long_learns_why(
    lab: Lab, ansible: Callable[..., Run], play: Play, inventory: pathlib.Path
) -> None:
    variables = {"ansible_eic_tunnel_budget": 1, "ansible_eic_tunnel_wait": 3}
    run = ansible(play([raw("sleep 8; echo through")]), "--forks", "2", inventory=inventory, limit="fleet-000,fleet-001", variables=variables)
    (finished,) = [record for record in run.records if record["status"] == "ok"]
    assert "through" in finished["result"]["stdout"]
    (message,) = [record["result"]["msg"] for record in run.records if record["status"] == "unreachable"]
    assert ENDPOINT_ID in message and "quota of 20 tunnels" in message and "ansible_eic_tunnel_wait" in message


def test_a_quota_that_others_use_up_is_waited_for(lab: Lab, ansible: Callable[..., Run], play: Play, inventory: pathlib.Path) -> None:
    variables = {"ansible_eic_tunnel_budget": 18}
    lab.settings(tunnel_quota=1)
    counted = Tunnels(lab)
    playbook = play([raw() for _ in range(TASKS)], strategy="host_pinned")
    ansible(playbook, "--forks", "2", inventory=inventory, limit="fleet-000,fleet-001", variables=variables).ok()
    assert counted["tunnels_refused"] > 0


def test_an_old_connection_is_replaced_before_the_next_task(lab: Lab, ansible: Callable[..., Run], play: Play, inventory: pathlib.Path) -> None:
    variables = {"ansible_eic_max_tunnel_duration": 16, "ansible_eic_rotation_margin": 10}
    counted = Tunnels(lab)
    run = ansible(play([raw(), raw("sleep 9"), raw(), raw()]), inventory=inventory, limit="fleet-000", variables=variables).ok()
    assert run.stats["fleet-000"]["ok"] == 4
    assert counted["tunnels"] == counted["key_pushes"] == 2


def test_what_runs_while_the_connection_is_replaced_goes_on(
    lab: Lab, ansible: Callable[..., Run], play: Play, inventory: pathlib.Path, hosts: list[dict[str, Any]]
) -> None:
    content = yaml.safe_load(inventory.read_text())
    # two names of one machine share its connection
    content["all"]["hosts"] = {name: {"ansible_eic_instance_id": hosts[0]["instance_id"], "command": command} for name, command in (
        ("long", "sleep 14; echo through"), ("short", "sleep 11"),
    )}
    inventory.write_text(yaml.safe_dump(content))
    variables = {"ansible_eic_max_tunnel_duration": 20, "ansible_eic_rotation_margin": 10}
    counted = Tunnels(lab)
    run = ansible(play([raw("{{ command }}"), raw()], strategy="free"), inventory=inventory, variables=variables).ok()
    assert "through" in run.results("raw", "long")[0]["stdout"]
    assert counted["tunnels"] == 2
