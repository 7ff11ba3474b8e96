# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``ansible-playbook`` as a user does, and read what happened from recorded results."""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
COLLECTIONS = REPOSITORY / ".cache" / "collections"


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run: exit status, console text and the recorded results."""

    returncode: int
    output: str
    records: list[dict[str, Any]]

    @property
    def stats(self) -> dict[str, dict[str, int]]:
        """Counts (ok, changed, failures, unreachable, skipped...) by host."""
        return next((record["hosts"] for record in self.records if record["status"] == "stats"), {})

    def results(self, action: str, host: str | None = None) -> list[dict[str, Any]]:
        """Results of every task whose action's last name part is ``action``, in order."""
        return [
            record["result"]
            for record in self.records
            if record.get("action", "").rsplit(".", 1)[-1] == action and record["status"] != "skipped" and host in (None, record["host"])
        ]

    def result(self, action: str, host: str | None = None) -> dict[str, Any]:
        """The only result of ``action`` (on ``host``)."""
        found = self.results(action, host)
        assert len(found) == 1, f"{len(found)} results of {action} on {host}:\n{self.output}"
        return found[0]

    def ok(self) -> Run:
        """This run, if it succeeded; what ansible-core will not support much longer is no success."""
        assert self.returncode == 0, self.output
        assert "[DEPRECATION WARNING]" not in self.output, self.output
        return self


def run_playbook(
    playbook: str | pathlib.Path,
    *arguments: str,
    inventory: pathlib.Path,
    environment: dict[str, str],
    variables: dict[str, Any] | None = None,
    limit: str | None = None,
    check: bool = False,
    diff: bool = False,
    verbosity: int = 0,
    timeout: float = 600,
) -> Run:
    """Run ``playbook`` (a path or an FQCN) and return what happened; a failing play does not raise."""
    executable = pathlib.Path(sys.executable).with_name("ansible-playbook")
    with tempfile.TemporaryDirectory(prefix="system-test-") as scratch:
        record_file = pathlib.Path(scratch) / "records.jsonl"
        record_file.touch()
        command = [str(executable), "-i", str(inventory), str(playbook)]
        command += ["--extra-vars", json.dumps(variables)] if variables else []
        command += ["--limit", limit] if limit else []
        command += ["--check"] if check else []
        command += ["--diff"] if diff else []
        command += ["-" + "v" * verbosity] if verbosity else []
        command += list(arguments)
        completed = subprocess.run(
            command,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
                "ANSIBLE_CALLBACK_PLUGINS": str(pathlib.Path(__file__).parent / "callback_plugins"),
                "ANSIBLE_CALLBACKS_ENABLED": "record",
                "ANSIBLE_DEPRECATION_WARNINGS": "true",
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_NOCOLOR": "true",
                **environment,
                "RECORD_FILE": str(record_file),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            cwd=scratch,
        )
        records = [json.loads(line) for line in record_file.read_text(encoding="utf-8").splitlines()]
    return Run(completed.returncode, completed.stdout, records)
