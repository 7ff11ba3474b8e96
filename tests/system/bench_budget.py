# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tunnel budget costs: a play with far more forks than tunnels, against the same play with the best fixed number of forks.

``tests/bench-budget`` is the command. The runs of one round follow each other, so that whatever else the machine does strikes all of them alike;
what counts is the ratio of the medians.
"""
from __future__ import annotations

import argparse
import pathlib
import signal
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from eic_fleet import Tally, fleet, raw
from lab.api import Lab

QUOTA, BUDGET = 20, 18
LIMIT = 1.25


def measure(lab: Lab, *, hosts: int, tasks: int, forks: int, strategy: str) -> float:
    """The seconds of one play over hosts without any connection; raises AssertionError unless everything was done and nothing refused."""
    with fleet(lab, hosts, quota=QUOTA, budget=BUDGET) as made:
        tally = Tally(lab)
        run = made.run([raw() for _index in range(tasks)], forks=forks, strategy=strategy, timeout=3600)
        seconds = tally.seconds
        print(tally.row(f"{strategy}, {forks} forks"), file=sys.stderr, flush=True)
        run.ok()
        assert len(run.stats) == hosts and {each["ok"] for each in run.stats.values()} == {tasks}, run.stats
        assert tally["tunnels_refused"] == 0, "the endpoint had to refuse a tunnel"
        assert tally.peak <= QUOTA, tally.peak
        return seconds


def main() -> int:
    """The command line: print the table; the status is 1 if the budget costs more than a quarter."""
    parser = argparse.ArgumentParser(prog="tests/bench-budget", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--hosts", type=int, default=60)
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--forks", type=int, default=50)
    parser.add_argument("--fixed", type=int, nargs="+", default=[18, 12, 24, 9], help="the numbers of forks to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=["linear", "host_pinned"])
    options = parser.parse_args()
    # the lab is put right again on the way out
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    columns = [options.forks, *options.fixed]
    seconds: dict[tuple[str, int], list[float]] = {(strategy, forks): [] for strategy in options.strategies for forks in columns}
    with Lab() as lab:
        for number in range(options.rounds):
            for strategy in options.strategies:
                # another one goes first in each round
                for forks in columns[number % len(columns):] + columns[: number % len(columns)]:
                    seconds[strategy, forks].append(measure(lab, hosts=options.hosts, tasks=options.tasks, forks=forks, strategy=strategy))
    print(f"{options.hosts} hosts, {options.tasks} tasks, an endpoint that allows {QUOTA} tunnels, a budget of {BUDGET};"
          f" median seconds of {options.rounds} runs")
    print(f"\n| strategy | {' | '.join(f'{forks} forks' for forks in columns)} | ratio to the best fixed |\n|{'---|' * (len(columns) + 2)}")
    worst = 0.0
    for strategy in options.strategies:
        medians = {forks: statistics.median(seconds[strategy, forks]) for forks in columns}
        ratio = medians[options.forks] / min(medians[forks] for forks in options.fixed)
        worst = max(worst, ratio)
        print(f"| {strategy} | {' | '.join(f'{medians[forks]:.1f}' for forks in columns)} | {ratio:.2f} |")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
