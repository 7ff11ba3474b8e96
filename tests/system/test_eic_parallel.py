# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One tunnel, one login and one key push per host and play however its tasks start; few queries for many hosts; and every death frees its tunnel.

``EIC_TEST_HOSTS=200`` is the full size of the fleet.
"""
from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from eic_fleet import Fleet, Tally, children_of, fleet, raw, wait_for
from lab.api import Lab

HOSTS = int(os.environ.get("EIC_TEST_HOSTS", "12"))


@pytest.fixture
def trio(lab: Lab) -> Iterator[Fleet]:
    """Three hosts, whose idle connections outlive the test however slow the machine is."""
    with fleet(lab, 3, ansible_ssh_args="-C -o ControlPersist=900s") as made:
        yield made


def background(seconds: int = 1) -> dict[str, Any]:
    """A task that starts two commands on each host and waits for none of them."""
    return {"name": "Start", "ansible.builtin.command": f"sleep {seconds}", "async": 60, "poll": 0, "loop": [1, 2], "register": "started"}


WAIT: dict[str, Any] = {
    "name": "Wait", "ansible.builtin.async_status": {"jid": "{{ item.ansible_job_id }}"}, "loop": "{{ started.results }}", "register": "job",
    "until": "job is finished", "retries": 60, "delay": 1,
}


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_tasks_that_start_at_once_share_one_tunnel_one_login_and_one_key_push(lab: Lab, trio: Fleet, strategy: str) -> None:
    # two more names of the first host: their first tasks start at the same moment
    first = trio.hosts["fleet-000"]
    trio.hosts |= {f"alias-{number}": first for number in range(2)}
    tally = Tally(lab)
    tasks = [
        raw("true", delegate_to="fleet-001"), background(), raw("echo {{ item }}", loop=[1, 2, 3], throttle=2), WAIT,
        raw("true", delegate_to="fleet-002", throttle=3),
    ]
    run = trio.run(tasks, strategy=strategy).ok()
    print(tally.row(f"5 hosts on 3 instances, {strategy}"))
    assert {each["ok"] for each in run.stats.values()} == {5}
    for instance in trio.instances:
        each = instance["instance_id"]
        assert (tally.of(each, "tunnels"), tally.logins(each), tally.of(each, "key_pushes")) == (1, 1, 1), each
    assert tally["tunnels_refused"] == tally["key_pushes_refused"] == 0
    # the connections are warm now: nothing asks AWS for anything, and nobody logs in
    warm = Tally(lab)
    trio.run([*tasks, {"name": "Copy", "ansible.builtin.copy": {"content": "warm", "dest": "/tmp/warm-{{ inventory_hostname }}"}}], strategy=strategy).ok()
    assert (warm.aws_calls(), warm.logins()) == (0, 0)


def test_a_fleet_costs_one_endpoint_query_and_two_instance_queries(lab: Lab) -> None:
    # on a machine so slow that the run outlasts the answers' five minutes, they would be asked for again
    with fleet(lab, HOSTS, ansible_eic_target_cache_lifetime=3600) as hosts:
        tally = Tally(lab)
        run = hosts.run([raw()], forks=20, timeout=3600).ok()
        print(tally.row(f"{HOSTS} hosts"))
        assert len(run.stats) == HOSTS and {each["ok"] for each in run.stats.values()} == {1}
        assert tally["describe_endpoints"] == 1 and 1 <= tally["describe_instances"] <= 2
        # Of hundreds, sshd lets the odd login wait past its grace time, which is tried once more; of a dozen, none.
        assert HOSTS <= tally["tunnels"] == tally.logins() == tally["key_pushes"] <= HOSTS + HOSTS // 50 and tally["tunnels_refused"] == 0


def test_inventory_variables_make_queries_needless(lab: Lab, trio: Fleet) -> None:
    (endpoint,) = lab.world.reload().data["endpoints"]
    trio.variables |= {"ansible_eic_endpoint_id": endpoint["id"], "ansible_eic_endpoint_dns_name": endpoint["dns_name"]}
    for instance in trio.instances:
        trio.hosts[instance["tags"]["Name"]]["ansible_eic_private_address"] = instance["private_ip"]
    lab.fault("deny_describe")
    tally = Tally(lab)
    trio.run([raw()]).ok()
    assert tally["describe_instances"] == tally["describe_endpoints"] == tally["api_refused"] == 0
    assert tally["tunnels"] == tally["key_pushes"] == 3


@pytest.mark.parametrize("victim", ["tunnel", "ssh", "worker", "ansible-playbook"])
def test_whatever_is_killed_its_tunnel_goes_to_the_next(lab: Lab, victim: str) -> None:
    """An endpoint with a single tunnel: the host that has it loses it by kill -9, and another host gets it."""
    with fleet(lab, 2, quota=1, budget=1) as hosts:
        tally = Tally(lab)
        with hosts.started([raw("touch /tmp/kill-{{ inventory_hostname }}; sleep 7")], "--limit", "fleet-000") as play:
            wait_for(lambda: hosts.held_slots() == 1 and tally.logins() == 1, "the first host has the tunnel")
            wait_for(lambda: any("sleep 7" in words[-1] for words in hosts.processes().values()), "its command runs")
            pids = {
                "tunnel": hosts.tunnel_processes, "ssh": lambda: [pid for pid in hosts.processes() if pid not in hosts.tunnel_processes()],
                "worker": lambda: children_of(play.pid), "ansible-playbook": lambda: [play.pid],
            }[victim]()
            assert pids
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            if victim in ("tunnel", "ssh"):
                wait_for(lambda: hosts.held_slots() == 0, "the kernel frees the slot", timeout=10)
                assert "outcome is unknown" in play.communicate(timeout=60)[0]
            elif victim == "ansible-playbook":
                play.wait(10)
        tally = Tally(lab)
        run = hosts.run([raw()], forks=2).ok()
        print(tally.row(f"after the death of {victim}"))
        assert len(run.stats) == 2 and tally["tunnels_refused"] == 0
        hosts.close()
        wait_for(lambda: not hosts.left_over(), f"nothing is left: {hosts.left_over()}", timeout=30)


def test_a_killed_master_and_its_lock_do_not_stay(lab: Lab, trio: Fleet) -> None:
    trio.run([raw()]).ok()
    # the masters first: one whose tunnel ends before it is killed removes its socket
    tunnels = trio.tunnel_processes()
    for pid in sorted(trio.processes(), key=lambda process: process in tunnels):
        os.kill(pid, signal.SIGKILL)
    sockets = list((trio.directory / "cp").iterdir())
    assert len(sockets) == 3
    for name in ("eic-0000.lock", "eic-0000.status"):
        (trio.directory / "cp" / name).touch()
    for path in (trio.directory / "cp").iterdir():
        os.utime(path, (0, 0))
    trio.run([raw()], limit="fleet-000").ok()
    (socket,) = (trio.directory / "cp").iterdir()
    assert subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "check", "x"], capture_output=True, check=False).returncode == 0
