# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose CPU time a run with nothing to do is: Ansible's main process, which computes variables and decides, or the workers that it forks for tasks."""
from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import fleets
import measure
import peers
from fleets import AUDIT, INSTALL, Fleet
from measure import Contestant, Reading

# Runs one of Ansible's programs, and leaves the CPU seconds of its own process and of those that it has waited for.
_SPLIT = """
import os, pathlib, runpy, sys
times, process = sys.argv[1], os.getpid()
sys.argv[:2] = []
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    used = os.times()
    if os.getpid() == process:
        pathlib.Path(times).write_text(f"{used.user + used.system} {used.children_user + used.children_system}")
"""


def measured(sizes: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """One table for each number of hosts; ``extra`` has the medians of both parts, in CPU seconds."""
    for size in sizes:
        with fleets.fleet(size) as fleet:
            fleet.ping()
            commands = {
                "ping": ("ansible -m ping", ["ansible", "workspaces", "-m", "ansible.builtin.ping"]),
                "task": ("molecule_plugin, one task", ["ansible-playbook", str(fleet.task)]),
                "install": ("playbook install", ["ansible-playbook", INSTALL]),
                "audit": ("playbook audit", ["ansible-playbook", AUDIT]),
            }
            parts: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
            results = measure.compare([_contestant(fleet, name, *command, parts[name]) for name, command in commands.items()], rounds)
            for name, result in results.items():
                if parts[name]:
                    main, workers = (round(statistics.median(values), 3) for values in zip(*parts[name]))
                    result.extra.update({"CPU of the main process": main, "CPU of its workers": workers})
            yield {"scenario": "processes", "hosts": size, "results": {name: result.data() for name, result in results.items()}}


def _contestant(fleet: Fleet, name: str, shown: str, command: list[str], parts: list[tuple[float, float]]) -> Contestant:
    def run() -> Reading:
        times = fleet.directory / "times"
        python = [str(peers.VENV / "python"), "-c", _SPLIT, str(times), str(peers.VENV / command[0])]
        reading = measure.run([*python, "-i", str(fleet.hosts.inventory), *command[1:]], fleet.hosts.environment(), fleet.directory)
        main, workers = times.read_text().split()
        parts.append((float(main), float(workers)))
        return reading

    return Contestant(name, shown, run, check=fleet.all_answered if name == "ping" else fleet.unchanged)
