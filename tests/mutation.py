# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the code in small ways and see whether the unit tests notice: tests/mutation [--long] [--survivors] [MODULE]...

Without --long it is a sample, of each function the first mutant and then every fifth. The tests run on a copy of the collection below
.cache/mutation, by mutmut in .cache/venv-mutation. What was found by the last run of a module is kept there: --survivors shows it.
The exit status is 1 if the tests notice less than docs/test-quality.md says.
"""
from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
STAGE = REPOSITORY / ".cache" / "mutation"
ENVIRONMENT = REPOSITORY / ".cache" / "venv-mutation"
REQUIREMENTS = ("tests/requirements-mutation.txt", "tests/unit/requirements.txt", "requirements.txt")
COPIED = ("plugins", "tests/unit", "tests/*.py", "docs/*.json")
PACKAGE = pathlib.PurePath("ansible_collections", "molecule_ai", "workspace")
UNIT = "tests/unit/plugins"
SAMPLE = ("*__mutmut_*1", "*__mutmut_*6")
NOTICED = {1: "killed", 3: "killed", 36: "killed", 24: "killed", -24: "killed", 152: "killed", 255: "killed"}
"""mutmut's numbers for "a test failed", "pytest broke off" and "a test did not end in time". 0 is "survived", 33 "no test calls it"."""


class Module(typing.NamedTuple):
    """A module, the unit tests that are to notice a change of it, and of how many percent of its mutants they must."""

    path: str
    tests: tuple[str, ...]
    least: int


def _tests(room: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{UNIT}/{room}/test_{name}.py" for name in names)


MODULES = {
    "backend": Module("plugins/plugin_utils/backend.py", _tests("plugin_utils", "backend", "backend_answers", "backend_evidence"), 95),
    "plugin_tree": Module("plugins/module_utils/plugin_tree.py", _tests("module_utils", "plugin_tree", "plugin_store", "plugin_request"), 90),
    "plugin_store": Module(
        "plugins/module_utils/plugin_store.py", _tests("module_utils", "plugin_store", "plugin_request", "previous_version"), 95,
    ),
    "placements": Module(
        "plugins/module_utils/placements.py", _tests("module_utils", "placements", "placements_security", "kept_placements", "previous_version"), 75,
    ),
}
SETTINGS = """\
[tool.mutmut]
source_paths = ["ansible_collections"]
only_mutate = [{path}]
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false

[tool.pytest.ini_options]
timeout = 120
"""


def prepare_environment() -> None:
    """Make the virtual environment, unless it has what the requirements say."""
    wanted = sys.version + "".join((REPOSITORY / name).read_text() for name in REQUIREMENTS)
    stamp = ENVIRONMENT / ".stamp"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print("making the Python environment .cache/venv-mutation (once, about a minute)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", REQUIREMENTS[0]]
    subprocess.run([str(ENVIRONMENT / "bin" / "python"), *install], cwd=REPOSITORY, check=True)
    stamp.write_text(wanted)


def prepare_stage(name: str) -> pathlib.Path:
    """Copy the collection to where its modules have, for mutmut, the names that the tests import them by."""
    module, stage = MODULES[name], STAGE / name
    shutil.rmtree(stage, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for file in filter(None, listed):
        if (REPOSITORY / file).is_file():
            (stage / PACKAGE / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / file, stage / PACKAGE / file)
    tests = json.dumps([str(PACKAGE / test) for test in module.tests])
    (stage / "pyproject.toml").write_text(SETTINGS.format(path=json.dumps(str(PACKAGE / module.path)), tests=tests))
    return stage


def mutmut(stage: pathlib.Path, *arguments: str) -> None:
    """Run mutmut; the programs that tests start are its environment's."""
    environment = {**os.environ, "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([str(ENVIRONMENT / "bin" / "mutmut"), *arguments], cwd=stage, env=environment, check=True)


def outcomes(name: str) -> dict[str, str]:
    """How each mutant that was tried in the last run of a module ended: "killed", "survived" or "no test"."""
    found = STAGE / name / "mutants" / PACKAGE / (MODULES[name].path + ".meta")
    codes = json.loads(found.read_text())["exit_code_by_key"] if found.is_file() else {}
    return {mutant: NOTICED.get(code, "no test" if code == 33 else "survived") for mutant, code in codes.items() if code is not None}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="tests/mutation", description="Change the code in small ways and see whether the unit tests notice.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"{', '.join(MODULES)} (default: all of these)")
    parser.add_argument("--long", action="store_true", help="every mutant; takes up to a quarter of an hour for each module")
    parser.add_argument("--survivors", action="store_true", help="run nothing; show the mutants that the last run of the modules did not kill")
    options = parser.parse_args()
    if unknown := [name for name in options.modules if name not in MODULES]:
        parser.error(f"unknown module {', '.join(unknown)}: use {', '.join(MODULES)}")
    names = options.modules or list(MODULES)
    if options.survivors:
        for name in names:
            for mutant in (mutant for mutant, outcome in outcomes(name).items() if outcome != "killed"):
                mutmut(STAGE / name, "show", mutant)
        return 0
    prepare_environment()
    for name in names:
        print(f"\n=== {name}", flush=True)
        mutmut(prepare_stage(name), "run", "--max-children", str(os.cpu_count() or 1), *(() if options.long else SAMPLE))
    print("\n=== summary")
    failed = False
    for name in names:
        counted = collections.Counter(outcomes(name).values())
        mutants = sum(counted.values())
        enough = mutants > 0 and counted["killed"] * 100 >= mutants * MODULES[name].least
        failed = failed or not enough
        said = f"{mutants} mutants, {counted['killed']} killed, {counted['survived']} survived, {counted['no test']} without a test"
        print(f"{name:12} {'passed' if enough else 'FAILED'} ({said}; at least {MODULES[name].least} % are to be killed)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
