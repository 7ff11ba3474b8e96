# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many tasks over many hosts in one play, more hosts than tunnels, with faults of the kinds that may be retried: what it cost, and what it left behind.

``tests/soak`` is the command. Each host resets its connection after some tasks, so that there are many openings that a fault can strike.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from eic_fleet import Fleet, Leftovers, Tally, Task, fleet, memory_of, raw
from lab.api import Lab

RETRYABLE: list[dict[str, Any]] = [
    {"name": "throttle_push"},
    {"name": "push_5xx", "status": 503},
    {"name": "reset_connection"},
    {"name": "reset_upgrade"},
    {"name": "refuse_tunnel", "status": 503, "code": "ServiceUnavailable"},
    {"name": "refuse_without_body", "status": 502},
    {"name": "target_unreachable"},
    {"name": "lose_key"},
    # in the key exchange, long before anything was started
    {"name": "cut_after", "bytes": 400, "direction": "to_client", "how": "reset"},
]
"""The faults that pass by themselves."""

WEIGHTS = {"lose_key": 0.25}
"""How often a fault strikes in comparison with the others: a second refused key in a row is rightly the end, and must not be likely."""

TASKS_PER_CONNECTION = 5
SAMPLE_INTERVAL = 0.5


class Memory(threading.Thread):
    """Looks at the resident memory of the fleet's tunnel processes until it is stopped; ``samples`` are MiB by process, oldest first."""

    def __init__(self, hosts: Fleet) -> None:
        super().__init__(daemon=True)
        self._hosts, self._stopped = hosts, threading.Event()
        self.samples: dict[int, list[float]] = {}
        self.medians: list[float] = []

    def run(self) -> None:
        while not self._stopped.wait(SAMPLE_INTERVAL):
            now = {process: size for process in self._hosts.tunnel_processes() if (size := memory_of(process))}
            for process, size in now.items():
                self.samples.setdefault(process, []).append(size)
            # those that have just started are still importing
            grown = [size for process, size in now.items() if len(self.samples[process]) > 2]
            if grown:
                self.medians.append(statistics.median(grown))

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    @property
    def growth(self) -> float:
        """The most that one process grew after its start, in MiB."""
        return max((sizes[-1] - sizes[2] for sizes in self.samples.values() if len(sizes) > 3), default=0.0)

    @property
    def longest(self) -> float:
        """The seconds for which the longest-lived process was seen."""
        return max((len(sizes) for sizes in self.samples.values()), default=0) * SAMPLE_INTERVAL


@dataclasses.dataclass(frozen=True)
class Result:
    """What a soak showed. ``runs`` says how often each counting task ran on its host; ``memory`` are the first, the median and the last sample in MiB."""

    hosts: int
    tasks: int
    ok: int
    unreachable: int
    failed: int
    repeated: int
    seconds: float
    faults: dict[str, int]
    tunnels: int
    logins: int
    refused_pushes: int
    quota_refusals: int
    peak: int
    left: Leftovers
    processes: int
    longest: float
    memory: tuple[float, float, float]
    growth: float

    @property
    def retries(self) -> int:
        """What had to be done again: tunnels without a login, refused pushes, and connections that never became tunnels."""
        before_tunnel = ("reset_connection", "reset_upgrade", "refuse_tunnel", "refuse_without_body")
        return self.tunnels - self.logins + self.refused_pushes + sum(self.faults.get(name, 0) for name in before_tunnel)

    def table(self) -> str:
        """All of it, in Markdown."""
        injected = sum(self.faults.values())
        rows = [
            ("hosts, tasks", f"{self.hosts} hosts, {self.tasks} tasks in {self.seconds:.0f} s"),
            ("tasks ok / unreachable / failed", f"{self.ok} / {self.unreachable} / {self.failed}"),
            ("commands that ran twice or not at all", str(self.repeated)),
            ("logins, tunnels opened", f"{self.logins}, {self.tunnels} (at most {self.peak} at a time)"),
            ("refused for the quota", str(self.quota_refusals)),
            ("faults injected", f"{injected} ({100 * injected / max(1, self.tasks):.1f} % of the tasks)"),
            *((f"- {name}", str(count)) for name, count in self.faults.items()),
            ("retries", str(self.retries)),
            ("left: processes / slots / files / keys", " / ".join(map(str, dataclasses.astuple(self.left)))),
            ("tunnel processes", f"{self.processes} seen, the longest for {self.longest:.0f} s"),
            ("their memory, first / median / last", " / ".join(f"{size:.1f}" for size in self.memory) + " MiB"),
            ("growth of one process, at most", f"{self.growth:.1f} MiB"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def soak(lab: Lab, *, size: int, tasks_per_host: int, percent: float, forks: int, quota: int, budget: int, persist: int) -> Result:
    """Run it: as many faults as ``percent`` of the tasks, idle connections live for ``persist`` seconds."""
    # a fault may strike an attempt that repeats another one, so whole attempts are repeated, too
    variables = {"ansible_ssh_args": f"-C -o ControlPersist={persist}s", "ansible_ssh_retries": 3}
    with fleet(lab, size, quota=quota, budget=budget, **variables) as hosts, _directory_on(hosts) as directory:
        # one for certain, so that there is one in a short run, too
        lab.fault("throttle_push", count=1)
        total = sum(WEIGHTS.get(fault["name"], 1) for fault in RETRYABLE)
        for fault in RETRYABLE:
            lab.fault(**fault, probability=TASKS_PER_CONNECTION * percent / 100 * WEIGHTS.get(fault["name"], 1) / total)
        tally, memory = Tally(lab), Memory(hosts)
        memory.start()
        tasks = []
        for number in range(tasks_per_host):
            tasks += [_RESET] if number and number % TASKS_PER_CONNECTION == 0 else []
            tasks.append(_task(number, directory))
        run = hosts.run(tasks, forks=forks, timeout=4 * 3600, strategy="host_pinned")
        seconds = tally.seconds
        on = lab.faults()
        faults = {fault["name"]: sum(each["struck"] for each in on if each["name"] == fault["name"]) for fault in RETRYABLE}
        # the certain one has gone when it has struck
        faults["throttle_push"] += len(on) == len(RETRYABLE)
        lab.clear_faults()
        quota_refusals = tally["tunnels_refused"] - sum(faults[name] for name in ("reset_upgrade", "refuse_tunnel", "refuse_without_body"))
        # the last connections end by themselves
        _wait_until_idle(hosts, persist + 30)
        memory.stop()
        medians = memory.medians or [0.0]
        return Result(
            hosts=size, tasks=size * tasks_per_host, ok=sum(each["ok"] for each in run.stats.values()),
            unreachable=sum(each["unreachable"] for each in run.stats.values()), failed=sum(each["failures"] for each in run.stats.values()),
            repeated=_wrong_counts(hosts, tasks_per_host, directory), seconds=seconds, faults=faults, tunnels=tally["tunnels"], logins=tally.logins(),
            refused_pushes=tally["key_pushes_refused"], quota_refusals=quota_refusals, peak=tally.peak, left=hosts.left_over(),
            processes=len(memory.samples), longest=memory.longest, memory=(medians[0], statistics.median(medians), medians[-1]), growth=memory.growth,
        )


_RESET: Task = {"name": "Reset", "ansible.builtin.meta": "reset_connection"}


def _task(number: int, directory: str) -> Task:
    """Mostly commands that count their own runs on the host, in ``directory``; of twenty tasks, one is a transfer and one a module."""
    counted = f"{directory}/{{{{ inventory_hostname }}}}"
    if number % 20 == 9:
        return {"name": f"Copy {number}", "ansible.builtin.copy": {"content": "soak " * 2000, "dest": f"{counted}-file"}}
    if number % 20 == 19:
        return {"name": f"Module {number}", "ansible.builtin.command": "true"}
    return raw(f"echo {number} >> {counted}")


def _wrong_counts(hosts: Fleet, tasks_per_host: int, directory: str) -> int:
    """How many counting commands have run more or less often than once."""
    expected = sorted(str(number) for number in range(tasks_per_host) if "ansible.builtin.raw" in _task(number, ""))
    wrong = 0
    for instance in hosts.instances:
        status, output = hosts.machine(instance).exec_run(["cat", f"{directory}/{instance['tags']['Name']}"])
        ran = output.decode().split() if status == 0 else []
        wrong += sum(ran.count(number) != 1 for number in expected) + len(set(ran) - set(expected))
    return wrong


@contextlib.contextmanager
def _directory_on(hosts: Fleet) -> Iterator[str]:
    """A directory of this name on each machine, for what the tasks write there."""
    directory = f"/tmp/soak-{hosts.directory.name}"
    machines = {instance["host_container"]: hosts.machine(instance) for instance in hosts.instances}
    for machine in machines.values():
        machine.exec_run(["install", "-d", "-m", "0777", directory])
    try:
        yield directory
    finally:
        for machine in machines.values():
            machine.exec_run(["rm", "-rf", directory])


def _wait_until_idle(hosts: Fleet, seconds: float) -> None:
    """Until nothing is left, or as long as it may take."""
    end = time.monotonic() + seconds
    while hosts.left_over() and time.monotonic() < end:
        time.sleep(0.5)


def main() -> int:
    """The command line: print the table; the status is 1 if anything was lost, repeated or left behind."""
    parser = argparse.ArgumentParser(prog="tests/soak", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--hosts", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=2000, help="in all (default 2000)")
    parser.add_argument("--percent", type=float, default=5.0, help="faults per 100 tasks (default 5)")
    parser.add_argument("--forks", type=int, default=20)
    options = parser.parse_args()
    # the lab is put right again on the way out
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    with Lab() as lab:
        result = soak(
            lab, size=options.hosts, tasks_per_host=options.tasks // options.hosts, percent=options.percent, forks=options.forks,
            quota=20, budget=18, persist=60,
        )
    print(result.table())
    return 0 if holds(result) else 1


def holds(result: Result) -> bool:
    """Whether everything was done once, and nothing is left."""
    done = result.ok == result.tasks and not result.unreachable and not result.failed and not result.repeated
    return done and not result.left and not result.quota_refusals and result.growth < 2.0


if __name__ == "__main__":
    sys.exit(main())
