# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs, workers, tunnels, ssh, containers, instances and the Docker engine at random moments, and look what a clean run makes of it.

Needs a lab that is up (tests/lab-command up), whose workspaces are emptied. --record writes the figures into docs/reliability.json and
docs/reliability.md. The exit status is 1 if something was not survived.
"""
from __future__ import annotations

import argparse
import datetime
import pathlib
import shlex
import sys
import time

_TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "system"), str(_TESTS / "reliability")]

import deaths
import figures
from lab.api import Lab


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="how many in all (default 200)")
    parser.add_argument("--workspaces", default="alpha,beta,renamed,eic-claude,eic-hermes,eic-langgraph", help="of the lab, separated by commas")
    parser.add_argument("--seed", type=int, default=1, help="who is killed, and when")
    parser.add_argument("--minutes", type=float, metavar="N", help="begin no more runs after that time")
    parser.add_argument("--record", action="store_true", help="write the figures into docs/")
    return parser.parse_args()


def main() -> int:
    """Run the campaign; 1 if something was not survived."""
    options = arguments()
    until = time.monotonic() + 60 * options.minutes if options.minutes is not None else float("inf")
    with Lab() as lab:
        rounds = deaths.campaign(lab, options.workspaces.split(","), options.kills, options.seed, lambda line: print(line, flush=True), until)
    rows = deaths.table(rounds)
    for row in [deaths.COLUMNS, *rows]:
        print(", ".join(str(value) for value in row))
    if options.record:
        command = shlex.join(["tests/reliability/run-deaths", *[argument for argument in sys.argv[1:] if argument != "--record"]])
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        figures.record("deaths", {"date": date, "command": command, "columns": deaths.COLUMNS, "rows": rows})
    return 1 if rows[-1][-1] else 0


if __name__ == "__main__":
    sys.exit(main())
