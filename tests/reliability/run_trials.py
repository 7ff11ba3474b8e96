# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs and let the power fail, much more often than the tests do; print the figures. Needs root and what tests/setup prepares.

--long tries every point and every state, which takes hours; --runs and --recoveries bound it: how many points (or states) of each run, and how
many of each recovery after one; --second-recoveries says how many of each recovery after a killed recovery. --record writes the figures into
docs/reliability.json and docs/reliability.md.
"""
from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import functools
import multiprocessing
import pathlib
import shlex
import sys
import tempfile
import typing

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import campaign
import figures
import filesystems
import import_paths

import_paths.add()

import killing
from scenarios import SCENARIOS

_COLUMNS = {
    "kill": ["change", "file system", "kills in the run", "kills in recoveries", "kills in recoveries of those", "different states", "not survived"],
    "power": ["change", "recorded on", "calls", "crashes of the model", "different states", "tried", "not survived"],
}


def one(seed: int, samples: killing.Samples, case: tuple[str, str, str]) -> tuple[list[typing.Any], list[str]]:
    """Try one change on one file system: its row of the table, and what was not survived."""
    kind, scenario, file_system = case
    with tempfile.TemporaryDirectory(prefix="reliability-") as directory:
        if kind == "kill":
            kills = campaign.kill(file_system, scenario, pathlib.Path(directory), samples, seed)
            return [scenario, file_system, kills.run_points, *kills.recovery_points, kills.states, len(kills.failures)], kills.failures
        losses = campaign.lose_power(file_system, scenario, pathlib.Path(directory), samples[0], samples[1], seed)
        return [scenario, file_system, losses.operations, losses.crashes, losses.states, losses.tried, len(losses.failures)], losses.failures


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/reliability/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="every point and every state, unless --runs or --recoveries say less")
    parser.add_argument("--runs", type=int, metavar="N", help="points or states of each run (default without --long: 20)")
    parser.add_argument("--recoveries", type=int, metavar="N", help="points or states of each recovery (default without --long: 2)")
    parser.add_argument("--second-recoveries", type=int, default=1, metavar="N", help="points of each recovery after a killed recovery (default: 1)")
    parser.add_argument("--only", choices=["kill", "power"], action="append", help="only this campaign")
    parser.add_argument("--change", choices=sorted(SCENARIOS), action="append", help="only this change; may be repeated")
    parser.add_argument("--file-system", choices=filesystems.NAMES, action="append", help="only this file system; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="which points are chosen")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many at a time")
    parser.add_argument("--record", nargs="?", const="", metavar="SECTION", help="write the figures into docs/, as this section (default: kill or power)")
    return parser.parse_args()


def main() -> int:
    """Run the campaigns; 1 if something was not survived."""
    options = arguments()
    runs = options.runs if options.runs is not None or options.long else 20
    recoveries = options.recoveries if options.recoveries is not None or options.long else 2
    samples = (runs, recoveries, options.second_recoveries)
    lost = 0
    for kind in options.only or ["kill", "power"]:
        cases = [(kind, scenario, name) for scenario in options.change or SCENARIOS for name in options.file_system or filesystems.NAMES]
        rows = []
        print(", ".join(_COLUMNS[kind]), flush=True)
        with concurrent.futures.ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as pool:
            for row, failures in pool.map(functools.partial(one, options.seed, samples), cases):
                rows.append(row)
                lost += len(failures)
                print(", ".join(str(value) for value in row), *failures[:20], sep="\n  ", flush=True)
        numbers = range(2, len(_COLUMNS[kind]))
        rows.append(["all", "", *[sum(row[index] for row in rows) for index in numbers]])
        print(", ".join(str(value) for value in rows[-1]), flush=True)
        if options.record is not None:
            command = shlex.join(["tests/reliability/run", *[argument for argument in sys.argv[1:] if argument not in ("--record", options.record)]])
            date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            figures.record(options.record or kind, {"date": date, "command": command, "columns": _COLUMNS[kind], "rows": rows})
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
