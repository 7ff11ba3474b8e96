# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests of the workspace half with every Python that a workspace may have: tests/python-matrix [--long] [VERSION]...

``ansible-test units`` runs them, in a virtual environment of its own for each Python. A Python that this machine lacks is "not run", never
"passed". The exit status is 0 if nothing failed and something ran.
"""
from __future__ import annotations

import argparse
import functools
import os
import pathlib
import subprocess
import sys
import time

from core_matrix import REPOSITORY, Outcome, say, twice
from programs import WORKSPACE_PYTHONS, find_python

TESTS = REPOSITORY / "tests" / "unit" / "plugins" / "module_utils"
EVERY_INTERRUPTION = "test_plugin_slot.py"
"""Takes as long as all other tests; the oldest and the newest Python run it, unless all are asked for."""


def run_python(version: str, *, every_interruption: bool) -> Outcome:
    """Run the tests with one Python; their output goes to the terminal."""
    python = find_python([version])
    if python is None:
        return Outcome("not run", f"no Python {version} here")
    environment = {**os.environ, "PATH": f"{pathlib.Path(python).parent}:{os.environ['PATH']}"}
    command = [str(REPOSITORY / "tests" / "ansible-test"), "units", "--venv", "--python", version, "--num-workers", str(os.cpu_count() or 1)]
    tests = [path for path in sorted(TESTS.glob("test_*.py")) if every_interruption or path.name != EVERY_INTERRUPTION]
    command += [str(path.relative_to(REPOSITORY)) for path in tests]
    started = time.monotonic()
    status = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
    return Outcome("FAILED" if status else "passed", f"{len(tests)} files in {time.monotonic() - started:.0f} s")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="tests/python-matrix", description="Run the unit tests of the workspace half with every Python.")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"{', '.join(WORKSPACE_PYTHONS)} (default: all of these)")
    parser.add_argument("--long", action="store_true", help="every test with every Python")
    options = parser.parse_args()
    versions = options.versions or WORKSPACE_PYTHONS
    if unknown := [version for version in versions if version not in WORKSPACE_PYTHONS]:
        parser.error(f"unsupported Python {', '.join(unknown)}: use {', '.join(WORKSPACE_PYTHONS)}")
    outcomes = {}
    for version in versions:
        say(f"the workspace half with Python {version}")
        every_interruption = options.long or version in (WORKSPACE_PYTHONS[0], WORKSPACE_PYTHONS[-1])
        outcomes[version] = twice(functools.partial(run_python, version, every_interruption=every_interruption))
    say("summary")
    for version, outcome in outcomes.items():
        print(f"Python {version:5} {outcome.word} ({outcome.detail})")
    words = [outcome.word for outcome in outcomes.values()]
    return 0 if "passed" in words and "FAILED" not in words else 1


if __name__ == "__main__":
    sys.exit(main())
