# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bars for the coverage that the unit tests left behind: tests/coverage [--lines PERCENT] [--branches PERCENT].

coverage's own bar (``fail_under``) is one for lines and branches together, in which the many lines hide the few branches.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import sys
import tempfile

import coverage

LINES = 95.0
BRANCHES = 90.0
"""Percent, of both rooms together."""


def main() -> int:
    """Run the command line; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="tests/coverage", description="Whether the unit tests reach enough lines and branches.")
    parser.add_argument("--lines", type=float, default=LINES, metavar="PERCENT", help="at least (default: %(default)s)")
    parser.add_argument("--branches", type=float, default=BRANCHES, metavar="PERCENT", help="at least (default: %(default)s)")
    options = parser.parse_args()
    data = pathlib.Path(os.environ["COVERAGE_FILE"])
    if not data.is_file():
        parser.error("nothing is known: run tests/test unit first")
    measured = coverage.Coverage(data_file=str(data))
    measured.load()
    measured.report(show_missing=True, skip_covered=True)
    measured.html_report(directory=str(data.parent / "html"))
    with tempfile.TemporaryDirectory() as directory:
        measured.json_report(outfile=f"{directory}/report.json")
        totals = json.loads(pathlib.Path(directory, "report.json").read_text())["totals"]
    reached = True
    for name, bar, covered, all_of_them in (
        ("lines", options.lines, totals["covered_lines"], totals["num_statements"]),
        ("branches", options.branches, totals["covered_branches"], totals["num_branches"]),
    ):
        percent = 100 * covered / all_of_them
        reached = reached and percent >= bar
        print(f"{name}: {percent:.2f} % ({covered} of {all_of_them}), {'at least' if percent >= bar else 'LESS THAN'} {bar:g} %")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
