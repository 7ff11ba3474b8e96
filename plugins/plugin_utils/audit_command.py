# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``molecule-audit``: run an audit with an exit status that says more, merge reports, render them again, judge them.

Exit status: 0 in sync, 1 no usable report, 2 drift, 4 something could not be looked at or is not there, 6 both. Ansible's own statuses
cannot tell these apart.
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..module_utils.errors import InvalidInputError, WorkspaceError
from . import audit_report
from .audit_expected import expected_workspaces, with_expected, with_runs
from .audit_files import FORMATS, HISTORY_NAME, write_files
from .audit_merge import merge
from .audit_report import EXIT_DRIFT, EXIT_UNKNOWN, POLICIES, Report
from .audit_table import as_table

EXIT_ERROR = 1
_PLAYBOOK = "molecule_ai.workspace.audit"
_CALLBACK = "molecule_ai.workspace.drift"
_MAX_ROWS = 50
_FAIL_ON = "what makes the exit status other than 0: drift, unknown, none; or 'nothing'"


class _Parser(argparse.ArgumentParser):
    """A parser that does not use status 2 for wrong arguments: 2 means drift."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_ERROR, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options, rest = _parser().parse_known_args(arguments)
    try:
        if rest and options.command != "run":
            raise InvalidInputError(f"argument {rest[0]!r} is unknown: see --help")
        fail_on = [] if options.fail_on == "nothing" else [policy.strip() for policy in options.fail_on.split(",")]
        audit_report.exit_status(audit_report.new_report([], []), fail_on)
        report = _run(options, rest) if options.command == "run" else merge([audit_report.read(path) for path in options.reports])
        if options.command == "merge":
            if options.inventory:
                report = with_expected(report, expected_workspaces(options.inventory, options.limit, options.hosts))
            elif options.limit:
                raise InvalidInputError("--limit says which workspaces of an inventory are expected: give --inventory, too")
            report = with_runs(report, options.expect_runs)
            history = options.history or (options.output_dir / HISTORY_NAME)
            # Merging makes one audit of several; rendering again is not another audit.
            for path in write_files(report, options.output_dir, options.formats, history, options.title, append=not options.no_append):
                print(path)
        if options.command != "run":
            print("\n".join(as_table(report, shutil.get_terminal_size((160, 24)).columns, _MAX_ROWS)))
        return audit_report.exit_status(report, fail_on)
    except WorkspaceError as error:
        print(f"molecule-audit: {error}", file=sys.stderr)
        return EXIT_ERROR


def _run(options: argparse.Namespace, rest: Sequence[str]) -> Report:
    """Run ``ansible-playbook`` with the callback and return its report: a fresh one, or none."""
    program = shutil.which("ansible-playbook") or _beside_python("ansible-playbook")
    if program is None:
        raise WorkspaceError("ansible-playbook is not found: put it into PATH")
    with tempfile.TemporaryDirectory(prefix="molecule-audit-") as scratch:
        directory = options.output_dir or Path(scratch)
        report = directory / "drift.json"
        before = _identity(report)
        enabled = [name for name in os.environ.get("ANSIBLE_CALLBACKS_ENABLED", "").split(",") if name.strip() and name.strip() != _CALLBACK]
        environment = {
            **os.environ,
            "ANSIBLE_CALLBACKS_ENABLED": ",".join([*enabled, _CALLBACK]),
            "MOLECULE_AI_DRIFT_OUTPUT_DIR": str(directory),
            # Ansible only warns of an inventory that it cannot read; what that would have named is then missing from the audit.
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        }
        if options.output_dir is None:
            environment["MOLECULE_AI_DRIFT_FORMATS"] = "json"
        given = list(rest[1:] if rest[:1] == ["--"] else rest)
        status = subprocess.run([program, options.playbook, *given], env=environment, check=False).returncode  # noqa: S603 (a list, no shell)
        if _identity(report) in (None, before):
            raise WorkspaceError(f"ansible-playbook has ended with status {status} and no report: see what it says above")
        return audit_report.read(report)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell one written report from another: each is a new file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))


def _formats(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="molecule-audit",
        description="Audit the plugins of workspaces, and make one report of several.",
        epilog=f"Exit status: 0 in sync, {EXIT_ERROR} no usable report, {EXIT_DRIFT} drift, {EXIT_UNKNOWN} something could not be looked at "
        f"or is not there, {EXIT_DRIFT | EXIT_UNKNOWN} both.",
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    run = commands.add_parser("run", help="run ansible-playbook and exit as its report says; all other arguments go to ansible-playbook")
    run.add_argument("--playbook", default=_PLAYBOOK, help="instead of molecule_ai.workspace.audit")
    run.add_argument("--output-dir", type=Path, help="keep the report there")
    run.add_argument("--fail-on", default=",".join(POLICIES), metavar="STATES", help=_FAIL_ON)

    merged = commands.add_parser("merge", help="make one report of one or more drift.json")
    merged.add_argument("reports", nargs="+", type=Path, metavar="drift.json")
    merged.add_argument("--output-dir", type=Path, required=True, help="where drift.json, drift.xml and drift.html are written")
    merged.add_argument("--formats", type=_formats, default=list(FORMATS), help="which of json,junit,html")
    merged.add_argument("--history", type=Path, help=f"the history to append to and to plot, instead of {HISTORY_NAME} beside the report")
    merged.add_argument("--no-append", action="store_true", help="only plot the history: to render a report again")
    merged.add_argument("--title", default="Plugin drift", help="the page's title")
    merged.add_argument("-i", "--inventory", action="append", metavar="INVENTORY", help="what of it no report is about is unknown; may be given several times")
    merged.add_argument("-l", "--limit", metavar="PATTERN", help="what of the inventory the audits were limited to")
    merged.add_argument("--hosts", default="workspaces", metavar="GROUP", help="the group that the audits were about, if not workspaces")
    merged.add_argument("--expect-runs", type=_count, default=0, metavar="N", help="reports of fewer runs than that are not a whole audit")
    merged.add_argument("--fail-on", default=",".join(POLICIES), metavar="STATES", help=_FAIL_ON)

    status = commands.add_parser("status", help="print the table of one or more drift.json and exit as they say")
    status.add_argument("reports", nargs="+", type=Path, metavar="drift.json")
    status.add_argument("--fail-on", default=",".join(POLICIES), metavar="STATES", help=_FAIL_ON)
    return parser


if __name__ == "__main__":
    sys.exit(main())
