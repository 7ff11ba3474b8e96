# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed at a known moment: its workers, which live on, begin nothing any more, and the next run finds the rest in order.

Each run waits in the middle of a task, in a lookup, until the test lets it go on: by then it has been killed.
"""
from __future__ import annotations

import contextlib
import pathlib
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_run import COLLECTIONS, Run
from expected import expected_items, wanted
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from workspaces import both_tiers

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
ROLLBACK = "molecule_ai.workspace.rollback"
_MARK = "MOLECULE_KILLED_RUN"
_SECONDS = 120


class KilledRun:
    """A play of ``tasks`` after the role ``backend``, in which one of them uses :attr:`pause`."""

    def __init__(self, lab: Lab, directory: pathlib.Path) -> None:
        self._lab, self._directory, self._mark = lab, directory, secrets.token_hex(8)
        self._reached, self._let_go, self._log = directory / "reached", directory / "let-go", directory / "log"
        wait = f"touch {self._reached}; for _ in $(seq {_SECONDS * 10}); do test ! -e {self._let_go} || break; sleep 0.1; done; echo 10"
        self.pause = f"{{{{ lookup('ansible.builtin.pipe', {shlex.quote(wait)}) }}}}"

    def run(self, limit: str, tasks: list[dict[str, Any]], **backend: str) -> str:
        """Kill the run when it waits, let its workers go on, and return what they have said until they have ended. ``backend``: variables of that role."""
        role = {"ansible.builtin.include_role": {"name": "molecule_ai.workspace.backend"}, "vars": backend}
        play = {"hosts": "workspaces", "gather_facts": False, "tasks": [role, *tasks]}
        playbook = self._directory / "play.yml"
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        program = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
        environment = {
            **self._lab.environment(), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1", _MARK: self._mark,
            "ANSIBLE_LOCAL_TEMP": str(self._directory / "tmp"),
        }
        with open(self._log, "wb") as log, subprocess.Popen(
            [program, "-i", str(self._lab.inventory), "--limit", limit, str(playbook)],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory,
        ) as process:
            try:
                self._wait(lambda: self._reached.exists() or process.poll() is not None)
                assert process.poll() is None, self._log.read_text()
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
                self._let_go.touch()
        self._wait(lambda: not self._workers())
        return self._log.read_text()

    def _workers(self) -> list[int]:
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                ours = entry.name.isdigit() and f"{_MARK}={self._mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
                if ours and b"ansible-playbook" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def _wait(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + _SECONDS
        while not is_so():
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)


@pytest.fixture(name="killed")
def fixture_killed(lab: Lab, tmp_path: pathlib.Path) -> KilledRun:
    (tmp_path / "tmp").mkdir()
    return KilledRun(lab, tmp_path)


@both_tiers
def test_a_worker_of_a_killed_run_restarts_nothing(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, killed: KilledRun
) -> None:
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc")}
    ansible(INSTALL, limit=workspace, variables={**variables, "restart_method": "none"}).ok()
    starts = len(lab.starts(workspace))
    said = killed.run(workspace, [{"molecule_ai.workspace.workspace_restart": {"stop_timeout": killed.pause}}])
    assert len(lab.starts(workspace)) == starts, said
    ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert len(lab.starts(workspace)) == starts + 1 and lab.loaded_names(workspace) == ["ecc"]


def test_a_worker_of_a_killed_run_installs_nothing(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, killed: KilledRun
) -> None:
    said = killed.run(workspace, [{"molecule_ai.workspace.molecule_plugin": {"plugins": wanted(plugin_sources, "ecc"), "lock_timeout": killed.pause}}])
    assert lab.snapshot(workspace, ".molecule_ai") == {} and "ecc" not in lab.snapshot(workspace, "plugins"), said
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, "ecc")}).ok()
    assert lab.snapshot(workspace, "plugins/ecc") == expected_items(plugin_sources / "ecc")


def test_the_maintenance_container_of_a_killed_run_is_replaced_by_the_next(
    lab: Lab, ansible: Callable[..., Run], workspace: str, tmp_path: pathlib.Path, killed: KilledRun
) -> None:
    """A plugin keeps the container down, and the run dies that was to roll it back."""
    for version, more in (("1", {}), ("2", {"runtime-refuses-to-start": ""})):
        write_tree(tmp_path / version / "probe", {"plugin.yaml": manifest("probe", f"{version}.0.0", "For going back"), **more})
    variables = {version: {"workspace_plugins": [{"name": "probe", "source": str(tmp_path / version / "probe")}]} for version in ("1", "2")}
    ansible(INSTALL, limit=workspace, variables=variables["1"]).ok()
    assert ansible(INSTALL, limit=workspace, variables={**variables["2"], "restart_wait_timeout": 20}).returncode != 0
    rollback = {"molecule_ai.workspace.molecule_plugin": {"name": "probe", "state": "rolled_back", "lock_timeout": killed.pause}}
    said = killed.run(workspace, [rollback], backend_stopped="maintain")
    (left,) = _maintained(lab, workspace)
    assert lab.snapshot(workspace, "plugins/probe") == expected_items(tmp_path / "2" / "probe"), said
    done = ansible(ROLLBACK, limit=workspace, variables={"workspace_plugin_names": "probe"}).ok()
    assert done.result("molecule_plugin", workspace)["plugins"][0]["action"] == "rolled_back"
    assert lab.snapshot(workspace, "plugins/probe") == expected_items(tmp_path / "1" / "probe")
    assert lab.state(workspace) == "running" and not _maintained(lab, workspace), left


def _maintained(lab: Lab, workspace: str) -> list[str]:
    """The ids of the maintenance containers of a workspace."""
    name = f"molecule-maintenance-{lab.runtime_container_name(workspace)}"
    return [one.id for one in lab.engine.containers.list(all=True) if one.name == name]
