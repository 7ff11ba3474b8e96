# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Self-healing with a real ansible-rulebook: what the platform has replaced has its plugins back, once, and our own restarts are left alone."""
from __future__ import annotations

import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import yaml
from ansible_run import Run
from lab import machines
from lab.api import Lab

pytestmark = pytest.mark.usefixtures("no_faults")

BIN = pathlib.Path(sys.executable).parent
DOCKER, EIC, OTHER = "alpha", "eic-claude", "beta"
PLUGIN = "ecc"
PATIENCE = 240.0


@pytest.fixture
def fleet(lab: Lab, plugin_sources: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """An inventory directory: platform, engine and EC2, and the list of plugins."""
    directory = tmp_path / "fleet"
    (directory / "group_vars").mkdir(parents=True)
    (directory / "lab.workspaces.yml").write_text(yaml.safe_dump({
        "plugin": "molecule_ai.workspace.workspaces", "hostnames": ["workspace_name"],
        "sources": [
            {"type": "platform", "platform_url": lab.service["platform_url"]}, {"type": "docker"},
            {"type": "ec2", "regions": [lab.world.data["region"]], "endpoint_url": lab.service["aws_url"]},
        ],
    }))
    shared = yaml.safe_load(lab.inventory.read_text())["workspaces"]["vars"]
    variables = {name: value for name, value in shared.items() if name.startswith("ansible_eic_")}
    variables["workspace_plugins"] = [{"name": PLUGIN, "source": str(plugin_sources / PLUGIN)}]
    (directory / "group_vars" / "all.yml").write_text(yaml.safe_dump(variables))
    return directory


@pytest.fixture
def environment(lab: Lab) -> dict[str, str]:
    platform = lab.world.data["platform"]
    return {"MOLECULE_API_TOKEN": platform["admin_token"], "MOLECULE_ORG_ID": platform["org_id"], "ANSIBLE_NOCOLOR": "true"}


class Rulebook:
    """A running ansible-rulebook with the rulebook of the collection."""

    def __init__(self, lab: Lab, fleet: pathlib.Path, environment: dict[str, str], directory: pathlib.Path, slots: int) -> None:
        self.state, self._log = directory / "watch" / "state.json", directory / "rulebook.log"
        self._ansible_log = directory / f"ansible-{slots}.log"
        variables = directory / "vars.yml"
        variables.write_text(yaml.safe_dump({
            "workspace_watch_inventory": str(fleet), "workspace_watch_interval": 2, "workspace_watch_settle": 3,
            "workspace_watch_state_file": str(self.state), "workspace_watch_repeat": 3600, "workspace_watch_slots": slots,
        }))
        command = [str(BIN / "ansible-rulebook"), "-r", "molecule_ai.workspace.self_healing", "-i", str(fleet), "--vars", str(variables), "-v"]
        full = {name: value for name, value in {**lab.environment(), **environment}.items() if name != "ANSIBLE_INVENTORY"}
        full["ANSIBLE_LOG_PATH"] = str(self._ansible_log)
        with self._log.open("w") as stream:
            self._process = subprocess.Popen(
                command, env=full, cwd=directory, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self._process.poll() is None and time.monotonic() < deadline, self.output()
            time.sleep(0.5)

    def looks(self, more: int) -> None:
        """Wait until the watch has looked so many times more."""
        for _number in range(more):
            before = self.state.stat().st_mtime_ns
            self.wait(lambda before=before: self.state.stat().st_mtime_ns != before)

    def healed(self) -> list[str]:
        """The hosts of the syncs that have ended, in order, one entry for each sync."""
        return [line.split()[0] for recap in self.output().split("PLAY RECAP")[1:] for line in recap.splitlines() if re.search(r" : ok=\d", line)]

    def turns(self) -> list[str]:
        """The process ids of the syncs in the order of what they logged, without repetitions in a row: one that occurs twice ran beside another."""
        lines = re.findall(r"^[-0-9]+ [:,0-9]+ p=(\d+) [^|\n]*\|?(.*)", self._ansible_log.read_text(errors="replace"), re.MULTILINE)
        syncs = {process for process, text in lines if "PLAY RECAP" in text}
        return [process for process, _group in itertools.groupby(process for process, _text in lines if process in syncs)]

    def end(self) -> None:
        if self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@pytest.fixture
def rulebook(lab: Lab, fleet: pathlib.Path, environment: dict[str, str], tmp_path: pathlib.Path) -> Iterator[Callable[..., Rulebook]]:
    """Start ansible-rulebook; everything that was started ends with the test."""
    java = shutil.which("java", path=f"{os.environ.get('JAVA_HOME', '')}/bin:{os.environ['PATH']}")
    if not (BIN / "ansible-rulebook").exists() or not java:
        pytest.fail("ansible-rulebook and a Java runtime are needed: run tests/setup")
    started: list[Rulebook] = []

    def start(slots: int = 5) -> Rulebook:
        started.append(Rulebook(lab, fleet, environment, tmp_path, slots))
        return started[-1]

    yield start
    for each in started:
        each.end()


def restart_by_the_platform(lab: Lab, name: str) -> None:
    """Which terminates the instance and provisions another one with an empty disk."""
    platform = lab.world.data["platform"]
    request = urllib.request.Request(
        f"{lab.service['platform_url']}/workspaces/{lab.world.workspace(name)['id']}/restart", method="POST",
        headers={"Authorization": f"Bearer {platform['admin_token']}", "X-Molecule-Org-Id": platform["org_id"]})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        assert json.load(response)["status"] == "provisioning"


def recreate_without_its_volume(lab: Lab, name: str) -> None:
    workspace = lab.world.workspace(name)
    machines.remove_container(lab.engine, workspace["container"])
    lab.engine.volumes.get(workspace["config_volume"]).remove(force=True)
    machines.create_workspace(lab.engine, lab.world, workspace)


def test_replaced_workspaces_have_their_plugins_back(
    lab: Lab, ansible: Callable[..., Run], fleet: pathlib.Path, environment: dict[str, str], rulebook: Callable[..., Rulebook]
) -> None:
    """Restarts of ours are no events; a new instance and a new container are one sync each, also what changed while nothing watched.

    Where only one sync at once is allowed, three that are due come one after the other.
    """
    for name in (DOCKER, EIC, OTHER):
        lab.reset(name)
    limit = f"{DOCKER},{EIC},{OTHER}"
    ansible("molecule_ai.workspace.sync", inventory=fleet, environment=environment, limit=limit).ok()
    watching = rulebook()
    watching.wait(watching.state.exists)

    ansible("molecule_ai.workspace.restart", inventory=fleet, environment=environment, limit=limit, variables={"workspace_restart_force": True}).ok()
    watching.looks(3)
    assert watching.healed() == []

    old_instance, starts = lab.world.reload().workspace(EIC)["instance_id"], len(lab.starts(DOCKER))
    restart_by_the_platform(lab, EIC)
    recreate_without_its_volume(lab, DOCKER)
    watching.wait(lambda: sorted(watching.healed()) == [DOCKER, EIC])
    assert lab.world.reload().workspace(EIC)["instance_id"] != old_instance
    assert lab.loaded_names(DOCKER) == lab.loaded_names(EIC) == [PLUGIN]
    # the start on the new disk, and the one restart of the sync, which is no event
    watching.looks(4)
    assert (len(lab.starts(DOCKER)) - starts, len(lab.starts(EIC))) == (2, 2)
    assert sorted(watching.healed()) == [DOCKER, EIC]
    watching.end()

    # the next watch sees what changed meanwhile; the two of before were announced shortly before the end, and their syncs find nothing to do
    recreate_without_its_volume(lab, OTHER)
    watching = rulebook(slots=1)
    watching.wait(lambda: sorted(watching.healed()) == sorted([DOCKER, EIC, OTHER]))
    turns = watching.turns()
    assert len(turns) == len(set(turns)) == 3, turns
    assert lab.loaded_names(OTHER) == [PLUGIN]
    assert (len(lab.starts(DOCKER)) - starts, len(lab.starts(EIC))) == (2, 2)
