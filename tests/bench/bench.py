# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the collection against what people use instead, on this machine, in one run: the command ``tests/bench/run``.

The data go to docs/performance.json; ``tests/bench/report`` makes the page of them. A scenario that is measured again replaces what was known of it.
"""
from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import ansible.release
import measure
import peers

DATA = peers.REPOSITORY / "docs" / "performance.json"


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured: ``hosts`` of the no-op tables, the rounds, what the profile is called."""

    quick: bool
    hosts: list[int]
    rounds: int
    label: str


def _no_op(size: Size) -> Iterable[dict[str, Any]]:
    import noop

    return noop.measured(size.hosts, size.rounds, min(20, *size.hosts))


def _install(size: Size) -> Iterable[dict[str, Any]]:
    import change

    return change.measured(min(size.hosts), [0, 150] if size.quick else [0, 40, 150], size.rounds)


def _eic(size: Size) -> Iterable[dict[str, Any]]:
    import eic

    return eic.measured(size.rounds, 20 if size.quick else 100)


def _scale(size: Size) -> Iterable[dict[str, Any]]:
    import scale

    return scale.measured(*((5, 20) if size.quick else (100, 1000)), size.rounds)


def _profile(size: Size) -> Iterable[dict[str, Any]]:
    import profile_host

    return profile_host.measured(size.rounds, size.label)


def _processes(size: Size) -> Iterable[dict[str, Any]]:
    import processes

    return processes.measured(size.hosts, size.rounds)


SCENARIOS: dict[str, Callable[[Size], Iterable[dict[str, Any]]]] = {
    "no-op": _no_op, "install": _install, "eic": _eic, "scale": _scale, "profile": _profile, "processes": _processes,
}
# The keys that tell the tables of one scenario apart.
_KEYS = ("scenario", "hosts", "latency", "label")


def main() -> int:
    """The command line; the status is 1 if a contestant of ours did not do its job."""
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few hosts, two rounds: to see that everything works")
    size.add_argument("--full", action="store_true", help="the sizes of the report, at least five rounds (the default); takes hours on a small machine")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be repeated")
    parser.add_argument("--label", choices=["before", "after"], default="after", help="for the scenario profile: before or after a change of the product")
    parser.add_argument("--output", type=pathlib.Path, default=DATA, help="the data file, default: docs/performance.json; --quick wants another one")
    parser.add_argument("--hosts", type=int, nargs="+", help="numbers of hosts of no-op and processes, install takes the smallest; default: 20 100 300")
    parser.add_argument("--rounds", type=int, help="default: 5")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("tests/bench/run needs root: its hosts are mount namespaces of one Debian system")
    if options.quick and options.output == DATA:
        options.output = peers.CACHE / "quick.json"
    chosen = Size(options.quick, options.hosts or ([4] if options.quick else [20, 100, 300]), options.rounds or (2 if options.quick else 5), options.label)
    measure.become_subreaper()
    peers.CACHE.mkdir(parents=True, exist_ok=True)
    for name in options.only or SCENARIOS:
        print(f"== {name}", file=sys.stderr, flush=True)
        for table in SCENARIOS[name](chosen):
            save(options.output, [table])
    print(options.output)
    return 0


def save(path: pathlib.Path, tables: list[dict[str, Any]]) -> None:
    """Put the tables into the data file in the place of the same ones of an earlier run."""
    data = json.loads(path.read_text()) if path.exists() else {"tables": []}
    for table in tables:
        table["measured"] = _circumstances()
    fresh = {_key(table) for table in tables}
    data["tables"] = [table for table in data["tables"] if _key(table) not in fresh] + tables
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def _key(table: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(table.get(key) for key in _KEYS)


def _circumstances() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=peers.REPOSITORY, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"), "commit": commit, "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1), "python": platform.python_version(), "ansible_core": ansible.release.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
