# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""More hosts than tunnels: the endpoint never has to refuse one, and everybody gets a turn.

A small endpoint by default; ``EIC_FLEET=60 pytest tests/system/test_eic_budget.py`` is the full size: 20 tunnels, of which the budget
takes 18, and ``EIC_FORKS`` (50). What the budget costs is measured by ``tests/bench-budget``.
"""
from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from ansible_run import Run
from eic_fleet import Fleet, Tally, fleet, raw
from lab.api import Lab
from lab.world import ENDPOINT_ID

FULL = int(os.environ.get("EIC_FLEET", "0"))
HOSTS, QUOTA, BUDGET, FORKS = (FULL, 20, 18, int(os.environ.get("EIC_FORKS", "50"))) if FULL else (8, 4, 3, 8)
TASKS = 3


@pytest.fixture
def hosts(lab: Lab) -> Iterator[Fleet]:
    """Many instances in one VPC, behind an endpoint with few tunnels."""
    with fleet(lab, HOSTS, quota=QUOTA, budget=BUDGET) as made:
        yield made


def all_ok(run: Run) -> None:
    """Every host did everything."""
    run.ok()
    assert len(run.stats) == HOSTS and {each["ok"] for each in run.stats.values()} == {TASKS}, run.stats


@pytest.mark.parametrize("strategy", ["linear", "host_pinned"])
def test_more_hosts_than_tunnels(lab: Lab, hosts: Fleet, strategy: str) -> None:
    others, tally = lab.counters()["tunnels_open"], Tally(lab)
    run = hosts.run([raw() for _index in range(TASKS)], forks=FORKS, strategy=strategy)
    print(tally.row(f"{HOSTS} hosts, {TASKS} tasks, {strategy}, {FORKS} forks"))
    all_ok(run)
    assert tally["tunnels_refused"] == 0
    assert tally["describe_endpoints"] == 1
    assert tally["describe_instances"] <= 2
    assert tally.peak <= BUDGET + others
    if strategy == "host_pinned":
        # a host keeps its connection until its play is over; on a busy machine a few may lose theirs between two tasks
        assert tally["tunnels"] <= 2 * HOSTS


def test_two_plays_share_the_budget(lab: Lab, hosts: Fleet) -> None:
    tally, names, tasks = Tally(lab), list(hosts.hosts), [raw() for _index in range(TASKS)]
    first, second = (("--forks", str(FORKS), "--limit", ",".join(part)) for part in (names[: HOSTS // 2], names[HOSTS // 2:]))
    with hosts.started(tasks, *first) as one, hosts.started(tasks, *second) as other:
        outputs = [each.communicate(timeout=600)[0] for each in (one, other)]
    print(tally.row(f"2 plays of {HOSTS // 2} hosts"))
    assert [one.returncode, other.returncode] == [0, 0], outputs
    assert tally["tunnels_refused"] == 0


def test_a_running_task_keeps_its_tunnel_and_who_waits_too_long_learns_why(hosts: Fleet) -> None:
    hosts.variables |= {"ansible_eic_tunnel_budget": 1, "ansible_eic_tunnel_wait": 3}
    run = hosts.run([raw("sleep 8; echo through")], forks=2, limit="fleet-000,fleet-001")
    (finished,) = [record for record in run.records if record["status"] == "ok"]
    assert "through" in finished["result"]["stdout"]
    (message,) = [record["result"]["msg"] for record in run.records if record["status"] == "unreachable"]
    assert ENDPOINT_ID in message and "quota of 20 tunnels" in message and "ansible_eic_tunnel_wait" in message


def test_a_quota_that_others_use_up_is_waited_for(lab: Lab, hosts: Fleet) -> None:
    hosts.variables["ansible_eic_tunnel_budget"] = 18
    lab.settings(tunnel_quota=1 + int(lab.counters()["tunnels_open"]))
    tally = Tally(lab)
    hosts.run([raw() for _index in range(TASKS)], forks=2, limit="fleet-000,fleet-001", strategy="host_pinned").ok()
    assert tally["tunnels_refused"] > 0


def test_an_old_connection_is_replaced_before_the_next_task(lab: Lab, hosts: Fleet) -> None:
    hosts.variables |= {"ansible_eic_max_tunnel_duration": 16, "ansible_eic_rotation_margin": 10}
    tally = Tally(lab)
    run = hosts.run([raw(), raw("sleep 9"), raw(), raw()], limit="fleet-000").ok()
    assert run.stats["fleet-000"]["ok"] == 4
    assert tally["tunnels"] == tally["key_pushes"] == 2


def test_what_runs_while_the_connection_is_replaced_goes_on(lab: Lab, hosts: Fleet) -> None:
    # two names of one machine share its connection
    first = hosts.hosts["fleet-000"]
    hosts.hosts = {name: {**first, "command": command} for name, command in (("long", "sleep 14; echo through"), ("short", "sleep 11"))}
    hosts.variables |= {"ansible_eic_max_tunnel_duration": 20, "ansible_eic_rotation_margin": 10}
    tally = Tally(lab)
    run = hosts.run([raw("{{ command }}"), raw()], strategy="free").ok()
    assert "through" in run.results("raw", "long")[0]["stdout"]
    assert tally["tunnels"] == 2
