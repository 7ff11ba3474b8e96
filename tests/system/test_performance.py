# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not become slower unseen: bytes and tasks, exactly countable, and ratios of one run.

No time is judged by itself; tests/bench/run measures those.
"""
from __future__ import annotations

import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import yaml
from ansible_run import Run
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from workspaces import EIC_WORKSPACE

HOSTS = ["alpha", "beta", "gamma", "renamed"]
ROUNDS = 3
# Generous: the task is about as fast as ping, and the machine may have other things to do.
WALL, CPU = 1.75, 2.0
KIBIBYTE = 1024
# The role's arguments, the backend, its connection (which our inventory would have set), the comparison, what became of it; an audit also counts the workspace.
# Each is a worker that Ansible forks for the host.
INSTALL_TASKS, AUDIT_TASKS = 5, 6


def _plugins(directory: pathlib.Path, count: int) -> list[dict[str, str]]:
    found = []
    for number in range(count):
        name = f"plugin-{number}"
        write_tree(directory / name, {
            "plugin.yaml": manifest(name, "1.0.0", "One of ten"), **{f"skills/work/page-{page}.md": f"Page {page} {number}\n" * 1000 for page in range(9)},
        })
        found.append({"name": name, "source": str(directory / name)})
    return found


@pytest.mark.parametrize("workspace", [EIC_WORKSPACE], indirect=True)
def test_a_look_at_ten_plugins_and_an_install_of_one_send_what_they_must(
    lab: Lab, ansible: Callable[..., Run], workspace: str, tmp_path: pathlib.Path, fresh_connections: None
) -> None:
    plugins = _plugins(tmp_path, 10)
    variables = {"workspace_plugins": plugins}
    ansible("molecule_ai.workspace.install", limit=workspace, variables=variables).ok()
    before = lab.counters()
    assert ansible("molecule_ai.workspace.install", limit=workspace, variables=variables).ok().stats[workspace]["changed"] == 0
    look = {name: lab.counters()[name] - before[name] for name in ("bytes_from_client", "bytes_to_client")}
    # our modules and the request, compressed, and what a login and its session say; of the 1.6 MB of plugins, nothing
    assert 0 < look["bytes_from_client"] < 96 * KIBIBYTE, look
    assert 0 < look["bytes_to_client"] < 32 * KIBIBYTE, look

    noise = os.urandom(256 * KIBIBYTE)
    (tmp_path / "plugin-3" / "noise.bin").write_bytes(noise)
    before = lab.counters()
    ansible("molecule_ai.workspace.install", limit=workspace, variables=variables).ok()
    sent = lab.counters()["bytes_from_client"] - before["bytes_from_client"]
    # only the changed plugin: its noise once, and what three calls (look, apply, restart) need besides
    assert len(noise) < sent < len(noise) + 4 * 96 * KIBIBYTE, sent


@pytest.mark.parametrize("workspace", [EIC_WORKSPACE], indirect=True)
def test_a_run_without_a_change_is_a_handful_of_tasks_for_each_host(ansible: Callable[..., Run], workspace: str, tmp_path: pathlib.Path) -> None:
    variables = {"workspace_plugins": _plugins(tmp_path, 1)}
    ansible("molecule_ai.workspace.install", limit=workspace, variables=variables).ok()

    def tasks(playbook: str, **more: str) -> int:
        run = ansible(f"molecule_ai.workspace.{playbook}", limit=workspace, variables={**variables, **more}).ok()
        assert run.stats[workspace]["changed"] == 0, run.output
        # skipped ones too: a worker is forked to find out that there is nothing to do
        return sum(run.stats[workspace][outcome] for outcome in ("ok", "skipped", "rescued", "ignored"))

    assert tasks("install") <= INSTALL_TASKS
    assert tasks("sync") <= INSTALL_TASKS
    assert tasks("audit") <= AUDIT_TASKS
    # a limit that is not reached costs nothing, an answer of a survey one task
    assert tasks("sync", workspace_canary="1", workspace_restart_method="inventory") <= INSTALL_TASKS
    assert tasks("sync", workspace_restart_method="none") <= INSTALL_TASKS + 1


def test_a_look_at_ten_plugins_takes_about_as_long_as_a_ping(lab: Lab, ansible: Callable[..., Run], tmp_path: pathlib.Path) -> None:
    for name in HOSTS:
        lab.reset(name)
    plugins = _plugins(tmp_path / "plugins", 10)
    hosts = {name: {"ansible_host": lab.runtime_container_name(name)} for name in HOSTS}
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": {
        "ansible_connection": "community.docker.docker_api", "ansible_docker_docker_host": lab.world.data["docker_host"], "ansible_pipelining": True,
        "ansible_python_interpreter": "python3", "ansible_user": "root", "workspace_config_dir": "/configs",
    }}}))
    plays = {}
    for name, task in (("ping", {"ansible.builtin.ping": {}}), ("look", {"molecule_ai.workspace.molecule_plugin": {"plugins": plugins}})):
        plays[name] = tmp_path / f"{name}.yml"
        plays[name].write_text(yaml.safe_dump([{"name": name, "hosts": "all", "gather_facts": False, "tasks": [{"name": name, **task}]}]))
    ansible(plays["look"], inventory=inventory).ok()
    assert all(counts["changed"] == 0 for counts in ansible(plays["look"], inventory=inventory).ok().stats.values())

    # The best of some rounds in turn: what else happens on the machine only ever makes a run slower.
    best: dict[str, tuple[float, float]] = {}
    for _round in range(ROUNDS):
        for name, play in plays.items():
            wall, cpu = _cost(play, inventory, lab.environment())
            best[name] = (min(wall, best.get(name, (wall, cpu))[0]), min(cpu, best.get(name, (wall, cpu))[1]))
    assert best["look"][0] <= WALL * best["ping"][0], best
    assert best["look"][1] <= CPU * best["ping"][1], best


def _cost(play: pathlib.Path, inventory: pathlib.Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of wall and of CPU that one run takes on the controller."""
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    before, started = used(), time.monotonic()
    subprocess.run([str(program), "-i", str(inventory), str(play)], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return time.monotonic() - started, used() - before
