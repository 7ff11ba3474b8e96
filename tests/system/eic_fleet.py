# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays over many EC2 instances of one VPC: an inventory with state of its own, what the lab counted meanwhile, and what a run has left behind."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import yaml
from ansible_run import COLLECTIONS, Run, run_playbook
from lab.api import Lab
from lab.fleet import fleet as instances_of
from lab.world import ENDPOINT_ID

Task = dict[str, Any]


def raw(command: str = "true", **keywords: Any) -> Task:
    """A task that runs a command without a module around it."""
    return {"name": "Run", "ansible.builtin.raw": command, **keywords}


class Fleet:
    """``instances`` (the lab's records) as hosts ``fleet-000`` and so on; everything that the product writes lies below ``directory``.

    ``budget`` and ``variables`` are for all hosts.
    """

    def __init__(self, lab: Lab, instances: list[dict[str, Any]], directory: pathlib.Path, budget: int, variables: dict[str, Any]) -> None:
        self.lab, self.instances, self.directory = lab, instances, directory
        common: dict[str, Any] = yaml.safe_load(lab.inventory.read_text())["workspaces"]["vars"]
        self.variables: dict[str, Any] = {
            **common, "ansible_connection": "molecule_ai.workspace.eic", "ansible_user": "ubuntu", "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_eic_state_directory": str(directory / "state"), "ansible_eic_known_hosts_file": str(directory / "known_hosts"),
            "ansible_control_path_dir": str(directory / "cp"), "ansible_eic_tunnel_budget": budget, "ansible_eic_tunnel_wait": 600,
            "ansible_eic_tunnel_timeout": 60, "ansible_ssh_timeout": 60, **variables,
        }
        self.hosts: dict[str, dict[str, Any]] = {each["tags"]["Name"]: {"ansible_eic_instance_id": each["instance_id"]} for each in instances}
        self.environment = {**lab.environment(), "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}

    def run(self, tasks: list[Task], *arguments: str, forks: int = 8, limit: str | None = None, timeout: float = 600, **keywords: Any) -> Run:
        """Run a play of ``tasks`` over all hosts (or those of ``limit``); ``keywords`` are the play's."""
        inventory, playbook = self._write(tasks, keywords)
        return run_playbook(playbook, "--forks", str(forks), *arguments, inventory=inventory, environment=self.environment, limit=limit, timeout=timeout)

    @contextlib.contextmanager
    def started(self, tasks: list[Task], *arguments: str, **keywords: Any) -> Iterator[subprocess.Popen[str]]:
        """The same play as a process that the test may disturb; it is killed at the end unless it has ended."""
        inventory, playbook = self._write(tasks, keywords)
        command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook), *arguments]
        with subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.directory
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _write(self, tasks: list[Task], keywords: dict[str, Any]) -> tuple[pathlib.Path, pathlib.Path]:
        inventory, playbook = self.directory / "inventory.yml", self.directory / "play.yml"
        inventory.write_text(yaml.safe_dump({"all": {"vars": self.variables, "hosts": self.hosts}}))
        play = {"name": "Fleet", "hosts": "all", "gather_facts": False, "tasks": tasks, **keywords}
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        return inventory, playbook

    def machine(self, instance: dict[str, Any]) -> Any:
        """The container in which the sshd of ``instance`` runs."""
        return self.lab.engine.containers.get(instance["host_container"])

    def processes(self) -> dict[int, list[str]]:
        """The arguments, by process id, of what the product has started for this fleet: ssh and tunnels."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0") if entry.name.isdigit() else []
                if f"{self.directory}/" in " ".join(arguments) and not any(argument.endswith("ansible-playbook") for argument in arguments[:2]):
                    found[int(entry.name)] = arguments
        return found

    def tunnel_processes(self) -> list[int]:
        """The process ids of the tunnels that are open."""
        return [process for process, arguments in self.processes().items() if len(arguments) > 3 and arguments[3].endswith("eic_tunnel.py")]

    def held_slots(self) -> int:
        """How many places of endpoints' budgets are taken: the files that somebody holds a lock on."""
        held = 0
        for path in (self.directory / "state").glob("tunnels-*/slot-*"):
            with open(path, "rb") as slot:
                try:
                    fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held += 1
        return held

    def left_over(self) -> Leftovers:
        """What is there now that a run must not leave once its connections have ended."""
        temporary, state = self.directory / "tmp", self.directory / "state"
        keys = [path for path in temporary.rglob("*") if path.name.startswith("id_") or "eic-key" in path.name]
        files = [*(self.directory / "cp").glob("*"), *temporary.rglob("eic-ticket*"), *state.glob("*.lock"), *state.glob("tunnels-*/queue/*"),
                 *state.glob("targets-*.json.*")]
        return Leftovers(len(self.processes()), self.held_slots(), len(files), len(keys))

    def close(self) -> None:
        """End the shared connections."""
        for path in (self.directory / "cp").glob("eic-*"):
            subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)


@dataclasses.dataclass(frozen=True)
class Leftovers:
    """Counts of what is left."""

    processes: int
    slots: int
    files: int
    keys: int

    def __bool__(self) -> bool:
        return any(dataclasses.astuple(self))


@contextlib.contextmanager
def fleet(lab: Lab, size: int, *, quota: int = 20, budget: int = 18, **variables: Any) -> Iterator[Fleet]:
    """A fleet of ``size`` hosts behind an endpoint that allows ``quota`` tunnels, beside those that others have left open for a minute."""
    lab.clear_faults()
    others = int(lab.reset_counters()["tunnels_open"])
    lab.settings(tunnel_quota=quota + others)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ef-", dir="/tmp"))  # short, because sockets' paths are
    (directory / "tmp").mkdir()
    try:
        with instances_of(lab.world, size) as instances:
            made = Fleet(lab, instances, directory, budget, variables)
            try:
                yield made
            finally:
                made.close()
    finally:
        lab.clear_faults()
        lab.reset_settings()
        shutil.rmtree(directory, ignore_errors=True)


class Tally:
    """What the lab counted since this object was made: its counters, and the logins that the instances' sshd logged."""

    _LOGIN = re.compile(r" (i-[0-9a-f]+): Accepted publickey for ")

    def __init__(self, lab: Lab) -> None:
        self._lab, self._started = lab, time.monotonic()
        self._log = lab.paths.service_log.stat().st_size
        self._before = lab.counters()

    def __getitem__(self, name: str) -> int:
        return int(self._lab.counters()[name] - self._before[name])

    def of(self, instance_id: str, name: str) -> int:
        """The same for one instance."""
        now, before = (counters["by_id"].get(instance_id, {}).get(name, 0) for counters in (self._lab.counters(), self._before))
        return int(now - before)

    def logins(self, instance_id: str | None = None) -> int:
        """Logins on all instances or on one."""
        with open(self._lab.paths.service_log, encoding="utf-8", errors="replace") as log:
            log.seek(self._log)
            found = self._LOGIN.findall(log.read())
        return len([each for each in found if instance_id in (None, each)])

    def aws_calls(self) -> int:
        """Requests to AWS's APIs and tunnels, refused ones included."""
        names = ("describe_instances", "describe_endpoints", "console_outputs", "caller_identities", "api_refused", "key_pushes", "key_pushes_refused",
                 "tunnels", "tunnels_refused")
        return sum(self[name] for name in names)

    @property
    def peak(self) -> int:
        """The most tunnels that were open on the endpoint at a time since its counters were reset."""
        return int(self._lab.counters()["tunnels_open_peak_by_endpoint"].get(ENDPOINT_ID, 0))

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def row(self, what: str) -> str:
        """The figures, for the log."""
        return (f"{what}: {self.seconds:.1f} s, {self['tunnels']} tunnels, {self['tunnels_refused']} refused, {self['key_pushes']} key pushes, "
                f"{self.logins()} logins, peak {self.peak}, {self['describe_instances']} instance queries, {self['describe_endpoints']} endpoint queries")


def wait_for(condition: Any, what: str, timeout: float = 60) -> None:
    """Until ``condition()`` holds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.1)


def children_of(process: int) -> list[int]:
    """The direct child processes."""
    return [int(child) for task in pathlib.Path(f"/proc/{process}/task").iterdir() for child in (task / "children").read_text().split()]


def memory_of(process: int) -> float | None:
    """The resident memory of a process in MiB; ``None`` when it has ended."""
    try:
        return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, IndexError):
        return None
