# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Audits in which there is nothing to look at, in real runs: no report may say that all is well. What is looked at is tested on the lab."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[4]
COLLECTIONS = REPOSITORY / ".cache" / "collections"
COMMAND = COLLECTIONS / "ansible_collections" / "molecule_ai" / "workspace" / "playbooks" / "files" / "molecule-audit"
PROGRAMS = pathlib.Path(sys.executable).parent
MARKED = "plugin: molecule_ai.workspace.workspaces\non_error: mark\nsources: [{type: docker, name: rack-2, docker_host: 'unix:///nonexistent.sock'}]\n"
OUTSIDE = "workspaces: {hosts: {outside: {workspace_id: 3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b, workspace_runtime: external, workspace_plugins: []}}}\n"


class Audit:
    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory

    def inventory(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_", "DOCKER_"))}
        environment |= {
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_NOCOLOR": "true",
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "ANSIBLE_CALLBACKS_ENABLED": "molecule_ai.workspace.drift", "MOLECULE_AI_DRIFT_OUTPUT_DIR": str(self.directory / "report"),
        }
        return environment

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment(), cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def playbook(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("ansible-playbook", "molecule_ai.workspace.audit", *arguments)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, str(COMMAND), "run", "--output-dir", str(self.directory / "report"), *arguments)

    def report(self) -> dict:
        return json.loads((self.directory / "report" / "drift.json").read_text())


@pytest.fixture
def audit(tmp_path: pathlib.Path) -> Audit:
    return Audit(tmp_path)


def test_a_marked_source_without_any_workspace(audit: Audit) -> None:
    marked = audit.inventory("fleet.workspaces.yml", MARKED)
    run = audit.playbook("-i", marked)
    assert run.returncode == 2 and "rack-2" in run.stdout and "workspaces may be missing, for 1 source of the inventory failed" in run.stdout, run.stdout
    report = audit.report()
    assert report["workspaces"] == [] and [(one["source"], one["type"], one["inventory"]) for one in report["failures"]] == [
        ("rack-2", "docker", "fleet.workspaces.yml")]
    assert audit.command("-i", marked).returncode == 4
    assert audit.command("-i", marked, "--fail-on", "drift").returncode == 0


def test_a_marked_source_beside_workspaces_that_could_be_looked_at(audit: Audit) -> None:
    inventories = ["-i", audit.inventory("hosts.yml", OUTSIDE), "-i", audit.inventory("fleet.workspaces.yml", MARKED)]
    run = audit.playbook(*inventories, "--limit", "outside")
    assert run.returncode == 2 and "1 external; workspaces may be missing, for 1 source" in run.stdout, run.stdout
    assert "is not complete" in run.stdout
    assert audit.playbook(*inventories, "-e", "workspace_audit_fail_on=drift").returncode == 0
    assert audit.command(*inventories).returncode == 4


def on_screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end: a carriage return goes back to the line's start, and CSI K erases from there."""
    lines, at = [""], 0
    for part in re.findall("\x1b\\[K|\x1b\\[[0-9;]*m|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            lines.append("")
            at = 0
        elif part == "\r":
            at = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:at]
        elif not part.startswith("\x1b"):
            lines[-1] = lines[-1][:at] + part + lines[-1][at + len(part):]
            at += len(part)
    return lines


def test_the_live_line_on_a_terminal(audit: Audit) -> None:
    """A real pseudo-terminal, not wide: the line never wraps, never mixes with a line of Ansible's, and is gone in the end."""
    hosts = {f"outside-{number}": {"workspace_id": f"3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a{number:02d}", "workspace_runtime": "external"} for number in range(6)}
    inventory = audit.inventory("hosts.yml", json.dumps({"workspaces": {"vars": {"workspace_plugins": []}, "hosts": hosts}}))
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        process = subprocess.Popen(
            [str(PROGRAMS / "ansible-playbook"), "molecule_ai.workspace.audit", "-i", inventory, "--forks", "3"],
            env={**audit.environment(), "TERM": "xterm"}, cwd=audit.directory, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        written = b""
        try:
            # On Linux, reading from a terminal that nobody has open any more is an error and not the end.
            with contextlib.suppress(OSError):
                while data := os.read(ours, 65536):
                    written += data
            assert process.wait(timeout=120) == 0, written
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    finally:
        os.close(ours)
    text = written.decode()
    drawn = re.findall("\r\x1b\\[K(Audit [^\r\n\x1b]*)", text)
    assert drawn and all(len(line) < 60 for line in drawn), text
    assert re.match(r"Audit [0-6]/6 \(\d+ %\), 0 drifted, 0 unknown", drawn[0])
    shown = on_screen(text)
    assert not [line for line in shown if re.search(r"Audit \d+/6", line)], shown
    assert "Audit of 6 workspaces: 0 in sync, 0 drifted, 0 unknown, 0 not there, 6 external" in "\n".join(shown)
    # each of Ansible's own lines is whole
    assert len([line for line in shown if re.match(r"TASK \[|PLAY \[|PLAY RECAP", line)]) == len(re.findall(r"TASK \[|PLAY \[|PLAY RECAP", text))


def test_an_inventory_that_cannot_be_read(audit: Audit) -> None:
    inventories = ["-i", audit.inventory("hosts.yml", OUTSIDE), "-i", audit.inventory("broken.yml", "plugin: no.such.plugin\n")]
    run = audit.playbook(*inventories)
    assert "workspaces may be missing, for 1 source of the inventory failed" in run.stdout, run.stdout
    assert audit.report()["failures"][0]["inventory"] == "broken.yml"
    refused = audit.command(*inventories)
    assert refused.returncode == 1 and "broken.yml" in refused.stderr, refused.stderr


def test_tags_run_the_audit_or_there_is_no_report(audit: Audit) -> None:
    hosts = audit.inventory("hosts.yml", OUTSIDE)
    for tag in ("audit", "plugins"):
        assert "1 external" in audit.playbook("-i", hosts, "--tags", tag).stdout, tag
    (audit.directory / "report" / "drift.json").unlink()
    nothing = audit.playbook("-i", hosts, "--tags", "restart")
    assert "There is no report of this audit: the tags that were chosen leave it out" in " ".join(nothing.stderr.split()), nothing.stdout + nothing.stderr
    assert not (audit.directory / "report" / "drift.json").exists()
    assert audit.command("-i", hosts, "--tags", "restart").returncode == 1


@pytest.mark.parametrize("look", [
    "roles: [molecule_ai.workspace.plugins]", "tasks: [{block: [{ansible.builtin.include_role: {name: molecule_ai.workspace.plugins}}]}]",
    "tasks: [{molecule_ai.workspace.molecule_plugin: {plugins: []}}]",
])
def test_an_audit_that_never_looks_is_of_unknown_workspaces(audit: Audit, look: str) -> None:
    """Here it fails before its first look, in what was put before it."""
    before = "gather_facts: false\n  pre_tasks: [{ansible.builtin.fail: {msg: no way in}}]"
    book = audit.inventory("site.yml", f"- hosts: workspaces\n  {before}\n  {look}\n")
    run = audit._run("ansible-playbook", book, "--check", "-i", audit.inventory("hosts.yml", OUTSIDE))
    assert "Audit of 1 workspace: 0 in sync, 0 drifted, 1 unknown" in run.stdout, run.stdout
    assert audit.report()["workspaces"][0]["reason"] == "no way in"


def test_a_run_that_is_no_audit_is_not_reported(audit: Audit) -> None:
    book = audit.inventory("site.yml", "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {}}]\n")
    run = audit._run("ansible-playbook", book, "--check", "-i", audit.inventory("hosts.yml", OUTSIDE), "-i", audit.inventory("fleet.workspaces.yml", MARKED))
    assert run.returncode == 0 and "Audit of" not in run.stdout and not (audit.directory / "report").exists()
