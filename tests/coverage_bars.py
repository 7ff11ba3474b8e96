# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bars for what the unit tests reach: the end of tests/coverage.

coverage's own bar (``fail_under``) is one for lines and branches together, in which the many lines hide the few branches.
"""
from __future__ import annotations

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
    """Report what was measured; 1 if a bar is missed."""
    data = pathlib.Path(os.environ["COVERAGE_FILE"])
    measured = coverage.Coverage(data_file=str(data))
    measured.load()
    measured.report(show_missing=True, skip_covered=True)
    measured.html_report(directory=str(data.parent / "html"))
    with tempfile.TemporaryDirectory() as directory:
        measured.json_report(outfile=f"{directory}/report.json")
        totals = json.loads(pathlib.Path(directory, "report.json").read_text())["totals"]
    reached = True
    for name, least, covered, all_of_them in (
        ("lines", LINES, totals["covered_lines"], totals["num_statements"]),
        ("branches", BRANCHES, totals["covered_branches"], totals["num_branches"]),
    ):
        percent = 100 * covered / all_of_them
        reached = reached and percent >= least
        print(f"{name}: {percent:.2f} % ({covered} of {all_of_them}), {'at least' if percent >= least else 'LESS THAN'} {least:g} %")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
