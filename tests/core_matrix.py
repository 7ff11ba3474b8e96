# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run groups of tests with every supported ansible-core: tests/core-matrix [-g GROUP]... [VERSION]...

Each version gets a virtual environment .cache/venv-<version> of its own, made once, with the requirements of the tests but for the linters.
Whatever does not run is said and counts as a failure of the command: a version whose Python is missing, a group that has run no test.
The exit status is 0 only if every group of every version has passed.
"""
from __future__ import annotations

import argparse
import datetime
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree

from programs import find_python

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CACHE = REPOSITORY / ".cache"

PYTHONS: dict[str, list[str]] = {"2.17": ["3.11"], "2.18": ["3.11"], "2.19": ["3.11"], "2.20": ["3.12", "3.13"], "2.21": ["3.12", "3.13"]}
"""The Python versions to use for each ansible-core, best first."""
NEWEST = "newest"
"""Stands for whatever ansible-core came out last, supported here or not, a pre-release if there is one."""
NEWEST_PYTHONS = ["3.14", "3.13"]

# they check or package the source, whatever core is installed, and some want a core of their own
NOT_INSTALLED = re.compile(r"(ansible-core|ansible-lint|antsibull-\w+|molecule|mypy|ruff|yamllint|distlib|types-\w+)\b")


class Group(t.NamedTuple):
    """Tests that run together: pytest's arguments, and whether they need the lab."""

    description: str
    arguments: tuple[str, ...]
    needs_lab: bool = False
    by_default: bool = True


GROUPS: dict[str, Group] = {
    "options": Group("every option that core's ssh reads is inherited", ("tests/unit/plugins/doc_fragments",)),
    "connection": Group("the connection as plays see it, with a real sshd", ("tests/unit/plugins/connection",)),
    "conformance": Group(
        "the conformance playbook, each transfer method, pipelining on and off (EIC_TEST_LONG=1: each pair)",
        ("tests/system/test_eic_conformance.py", "-k", "playbook"), needs_lab=True,
    ),
    "failures": Group(
        "a sample of the failure matrix", ("tests/system/test_eic_matrix.py", "-k", "passes_by_itself or 21st or changed_host_key or lost_in_a_command"),
        needs_lab=True,
    ),
    "adapters": Group(
        "the unit tests of what ansible-core calls: actions, inventory, lookup, documentation fragments",
        tuple(f"tests/unit/plugins/{room}" for room in ("action", "doc_fragments", "inventory", "lookup")) + ("--numprocesses", "2"),
        by_default=False,
    ),
    "unit": Group("all unit tests", ("tests/unit", "--numprocesses", "2"), by_default=False),
    "smoke": Group(
        "install, upgrade and remove plugins on both tiers",
        ("tests/system/test_install_and_remove.py", "-k", "upgrade or nothing_but_what_people_wrote or all_tiers"),
        needs_lab=True, by_default=False,
    ),
}


class Outcome(t.NamedTuple):
    """How a group ended: ``passed``, ``FAILED`` or ``not run``, and the figures or the reason."""

    word: str
    detail: str


def environment_of(version: str, python: str) -> pathlib.Path:
    """The virtual environment of an ansible-core version; raises :class:`subprocess.CalledProcessError` when it cannot be made."""
    lines = [*(REPOSITORY / "requirements.txt").read_text().splitlines(), *(REPOSITORY / "tests" / "requirements.txt").read_text().splitlines()]
    wanted = [words[0] for line in lines if (words := line.split("#")[0].split()) and not NOT_INSTALLED.match(words[0])]
    if version == NEWEST:
        # by the day, since nothing else says that there is a newer one
        wanted.append("ansible-core>=2.17.0.dev0")  # a specifier of a pre-release lets pip take one, of this package only
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    else:
        major, minor = version.split(".")
        wanted.append(f"ansible-core>={version},<{major}.{int(minor) + 1}")
        today = ""
    stamp = hashlib.sha256("\n".join([python, *wanted, today]).encode()).hexdigest()
    directory = CACHE / f"venv-{version}"
    if not (directory / ".stamp").exists() or (directory / ".stamp").read_text() != stamp:
        say(f"making {directory.relative_to(REPOSITORY)} with {python}")
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(directory)], check=True)
        subprocess.run([str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *wanted], check=True)
        (directory / ".stamp").write_text(stamp)
    return directory


def installed(directory: pathlib.Path) -> tuple[str, str]:
    """The exact versions of ansible-core and of Python in an environment."""
    code = "import platform, ansible.release; print(ansible.release.__version__, platform.python_version())"
    core, python = subprocess.run([str(directory / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return core, python


def run_group(name: str, group: Group, version: str, directory: pathlib.Path) -> Outcome:
    """Run one group in an environment; its output goes to the terminal."""
    report = CACHE / f"core-matrix-{version}-{name}.xml"
    report.unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if key not in ("ANSIBLE_CONFIG", "ANSIBLE_INVENTORY")}
    environment |= {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "ANSIBLE_HOME": str(CACHE / f"ansible-{version}"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(CACHE / "collections"),
    }
    command = [str(directory / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *group.arguments]
    started = time.monotonic()
    status = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
    if not report.exists():
        return Outcome("FAILED", f"pytest ended with status {status} and no report")
    suites = list(xml.etree.ElementTree.parse(report).getroot().iter("testsuite"))
    tests, skipped, bad = (sum(int(suite.get(key, "0")) for suite in suites for key in keys) for keys in (("tests",), ("skipped",), ("failures", "errors")))
    detail = f"{tests - skipped - bad} tests in {time.monotonic() - started:.0f} s"
    detail += f", {skipped} skipped" if skipped else ""
    if status or bad:
        return Outcome("FAILED", f"{detail}, {bad} failed")
    return Outcome("passed", detail) if tests > skipped else Outcome("not run", "no test was run")


def twice(run: t.Callable[[], Outcome]) -> Outcome:
    """Run once more what has failed, as ``tests/test`` does; the outcome says so. What fails twice has failed."""
    outcome = run()
    if outcome.word != "FAILED":
        return outcome
    again = run()
    return again._replace(detail=f"{again.detail}, only the second time: see above") if again.word == "passed" else again


def run_version(version: str, groups: t.Sequence[str], *, lab: bool) -> tuple[str, dict[str, Outcome]]:
    """Run the groups with one version; what ran (``2.19.3, Python 3.11.7``), and how each group ended."""
    pythons = PYTHONS.get(version, NEWEST_PYTHONS)
    python = find_python(pythons)
    if python is None:
        return f"{version}, Python missing", {name: Outcome("not run", f"no Python {' or '.join(pythons)} here") for name in groups}
    try:
        directory = environment_of(version, python)
        core, running = installed(directory)
    except (subprocess.CalledProcessError, OSError) as error:
        return f"{version}, not installed", {name: Outcome("FAILED", f"its environment cannot be made: {error}"[:200]) for name in groups}
    outcomes = {}
    for name in groups:
        say(f"ansible-core {core}, Python {running}: {name}")
        if GROUPS[name].needs_lab and not lab:
            outcomes[name] = Outcome("not run", "the lab did not start")
        else:
            outcomes[name] = twice(functools.partial(run_group, name, GROUPS[name], version, directory))
    return f"{core}, Python {running}", outcomes


def say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def lab_command(*arguments: str) -> bool:
    """Whether the lab's command line succeeded."""
    return subprocess.run([str(REPOSITORY / "tests" / "lab-command"), *arguments], stdout=subprocess.DEVNULL, check=False).returncode == 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="tests/core-matrix", description="Run groups of tests with every supported ansible-core.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="groups:\n" + "\n".join(f"  {name:12} {group.description}" for name, group in GROUPS.items()))
    parser.add_argument("-g", "--group", action="append", choices=GROUPS, dest="groups", help="a group to run (default: those of the eic connection)")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"{', '.join(PYTHONS)} (default: all of these) or {NEWEST}, supported or not")
    options = parser.parse_args()
    versions = options.versions or list(PYTHONS)
    if unknown := [version for version in versions if version not in (*PYTHONS, NEWEST)]:
        parser.error(f"unsupported ansible-core {', '.join(unknown)}: use {', '.join(PYTHONS)} or {NEWEST}")
    if not (CACHE / "collections" / "ansible_collections" / "community" / "docker").exists():
        parser.error("run 'make setup' first: the collections that the tests need are missing")
    groups = options.groups or [name for name, group in GROUPS.items() if group.by_default]

    lab = was_up = any(GROUPS[name].needs_lab for name in groups) and lab_command("status")
    if not was_up and any(GROUPS[name].needs_lab for name in groups):
        lab = lab_command("up")
    try:
        results = [run_version(version, groups, lab=lab) for version in versions]
    finally:
        if lab and not was_up:
            lab_command("down")

    say("summary")
    print(f"{'ansible-core':26} {'group':12} outcome")
    for what, outcomes in results:
        for name, outcome in outcomes.items():
            print(f"{what:26} {name:12} {outcome.word} ({outcome.detail})")
    words = [outcome.word for _what, outcomes in results for outcome in outcomes.values()]
    print(f"groups: {words.count('passed')} passed, {words.count('FAILED')} failed, {words.count('not run')} not run")
    return 0 if words.count("passed") == len(words) else 1


if __name__ == "__main__":
    sys.exit(main())
