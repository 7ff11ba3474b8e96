# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit of EC2 workspaces costs the controller: memory of each kind of process, processor seconds for each workspace, wall time.

    LAB_STATE=... .cache/venv/bin/python tests/bench/fork_memory.py [--hosts 40] [--forks 5 10 20] [--quota 100]

The lab has to be up. Its fleets of instances, found by the inventory plugin, are audited with two plugins that are installed and in sync. Memory is
proportional set size: a page that n processes share counts a n-th in each, so sums are what the machine needs. Processor time is that of
ansible-playbook, its forks and their ssh, and of the connections' ssh and tunnels until they were seen last; the lab's own (sshd, the plugins'
inspection, AWS) is not part of it. Wall time is that of a machine that also runs the lab.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "system")]

import yaml
from ansible_run import run_playbook
from eic_fleet import Fleet, fleet
from expected import wanted
from lab.api import Lab
from lab.fixtures import manifest, write_tree

INTERVAL = 0.3
ORGANISATION = "5ca1e000-93b5-4f6e-8a2d-5c1b0f9e8d7c"
KINDS = ("main", "fork", "ssh", "tunnel")
TICKS = os.sysconf("SC_CLK_TCK")


def kind_of(process: int, main: int, directory: str) -> str | None:
    """What the process is of the play whose state is below ``directory``."""
    if process == main:
        return "main"
    arguments = pathlib.Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    if len(arguments) > 3 and arguments[3].endswith("eic_tunnel.py"):
        return "tunnel" if directory in " ".join(arguments) else None
    if arguments[0].rsplit("/", 1)[-1].startswith("ssh"):
        return "ssh" if directory in " ".join(arguments) else None
    parent = int(pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return "fork" if parent == main else None


def memory(process: int) -> float:
    """The proportional set size in MiB."""
    lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def seconds(process: int) -> float:
    """The processor seconds that the process itself has used."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def watch(play: subprocess.Popen[bytes], directory: str) -> dict[str, float]:
    """Sample the play until it ends; return peaks, medians for each process, and processor seconds."""
    sizes: dict[str, list[float]] = defaultdict(list)
    most: dict[str, int] = defaultdict(int)
    detached: dict[int, float] = {}
    peak, peak_main, main_seconds, started = 0.0, 0.0, 0.0, time.monotonic()
    while True:
        ended, _status, usage = os.wait4(play.pid, os.WNOHANG)
        if ended:
            break
        found: dict[str, list[float]] = defaultdict(list)
        for entry in pathlib.Path("/proc").iterdir():
            # a process may end at any moment
            with contextlib.suppress(OSError, StopIteration, IndexError):
                if entry.name.isdigit() and (kind := kind_of(int(entry.name), play.pid, directory)):
                    found[kind].append(memory(int(entry.name)))
                    if kind == "main":
                        main_seconds = seconds(play.pid)
                    elif kind in ("ssh", "tunnel"):
                        detached[int(entry.name)] = seconds(int(entry.name))
        for kind, values in found.items():
            sizes[kind] += values
            most[kind] = max(most[kind], len(values))
        peak = max(peak, sum(map(sum, found.values())))
        peak_main = max(peak_main, *found["main"], 0.0)
        time.sleep(INTERVAL)
    processor = usage.ru_utime + usage.ru_stime + sum(detached.values())
    return {
        "wall": time.monotonic() - started, "processor": processor, "main_processor": main_seconds, "peak": peak, "main": peak_main,
        **{kind: statistics.median(sizes[kind] or [0.0]) for kind in KINDS[1:]}, **{f"most_{kind}": float(most[kind]) for kind in KINDS[1:]},
    }


def tag(lab: Lab, made: Fleet, runtimes: dict[str, str]) -> None:
    """Make workspaces of the instances, which the inventory plugin finds by their tags."""
    ids = {each["instance_id"]: f"5ca1e000-0000-4000-8000-{number:012x}" for number, each in enumerate(made.instances)}
    with lab.world.transaction() as data:
        for each in data["instances"]:
            if each["instance_id"] in ids:
                each["tags"] |= {"Role": "workspace", "WorkspaceID": ids[each["instance_id"]], "OrgID": ORGANISATION}
                each["tags"]["Runtime"] = runtimes[each["host_instance_id"]]


def audit(made: Fleet, forks: int, variables: dict[str, object]) -> dict[str, float]:
    """Audit the fleet once; raises RuntimeError unless every workspace was looked at and in sync."""
    inventory, report = made.directory / "fleet.workspaces.yml", made.directory / "report"
    inventory.write_text(yaml.safe_dump({"plugin": "molecule_ai.workspace.workspaces", "sources": [{
        "type": "ec2", "regions": [made.lab.world.data["region"]], "endpoint_url": made.lab.service["aws_url"], "filters": {"tag:OrgID": [ORGANISATION]}}]}))
    (made.directory / "group_vars").mkdir()
    (made.directory / "group_vars" / "all.yml").write_text(yaml.safe_dump(made.variables))
    environment = {
        **os.environ, **made.environment, "ANSIBLE_CALLBACKS_ENABLED": "molecule_ai.workspace.drift", "MOLECULE_AI_DRIFT_OUTPUT_DIR": str(report),
        "MOLECULE_AI_DRIFT_FORMATS": "json", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
    }
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "molecule_ai.workspace.audit", "-i", str(inventory), "--forks", str(forks),
               "--extra-vars", json.dumps(variables)]
    with (made.directory / "output").open("wb") as output:
        play = subprocess.Popen(command, env=environment, cwd=made.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        found = watch(play, str(made.directory))
    totals = json.loads((report / "drift.json").read_text())["totals"] if report.exists() else {}
    if totals.get("in_sync") != len(made.hosts):
        raise RuntimeError(f"not every workspace was in sync: {totals}\n{(made.directory / 'output').read_text()[-4000:]}")
    return found


def main() -> int:
    """The command line: print one row for each number of forks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--hosts", type=int, default=40)
    parser.add_argument("--forks", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--quota", type=int, default=100, help="how many tunnels the endpoint allows; the budget is two less")
    options = parser.parse_args()
    print("| workspaces | forks | wall s | workspaces/s | processor s each | of main | main MiB | fork MiB | ssh MiB | tunnel MiB | tunnels | peak MiB |")
    print(f"|{'---|' * 12}", flush=True)
    with Lab() as lab, tempfile.TemporaryDirectory() as scratch:
        sources = pathlib.Path(scratch)
        for name in ("one", "two"):
            write_tree(sources / name, {"plugin.yaml": manifest(name, "1.0.0", "To be measured"), "rules/rule.md": "Rule\n" * 200})
        variables = {"workspace_plugins": wanted(sources, "one", "two")}
        runtimes = {each["instance_id"]: each["tags"]["Runtime"] for each in lab.world.data["instances"] if "Runtime" in each["tags"]}
        run_playbook(
            "molecule_ai.workspace.install", inventory=lab.inventory, environment=lab.environment(), limit="lab_eic",
            variables={**variables, "plugins_exclusive": True},
        ).ok()
        for forks in options.forks:
            with fleet(lab, options.hosts, quota=options.quota, budget=options.quota - 2) as made:
                tag(lab, made, runtimes)
                found = audit(made, forks, variables)
                print(
                    f"| {options.hosts} | {forks} | {found['wall']:.0f} | {options.hosts / found['wall']:.2f} | {found['processor'] / options.hosts:.2f} "
                    f"| {found['main_processor'] / options.hosts:.2f} "
                    f"| {found['main']:.0f} | {found['fork']:.0f} | {found['ssh']:.1f} | {found['tunnel']:.0f} | {found['most_tunnel']:.0f} "
                    f"| {found['peak']:.0f} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
