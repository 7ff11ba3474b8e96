# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A merge that is told what to expect, by the command and with a real ``ansible-inventory``: a slice without a report is never taken for in sync."""
from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import audit_samples as samples
import jsonschema
import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import audit_expected, audit_merge, audit_report

REPOSITORY = pathlib.Path(__file__).resolve().parents[4]
COLLECTIONS = REPOSITORY / ".cache" / "collections"
COMMAND = COLLECTIONS / "ansible_collections" / "molecule_ai" / "workspace" / "playbooks" / "files" / "molecule-audit"
SCHEMA = json.loads((REPOSITORY / "docs" / "drift-1.schema.json").read_text(encoding="utf-8"))
MARKED = "plugin: molecule_ai.workspace.workspaces\non_error: mark\nsources: [{type: docker, name: rack-2, docker_host: 'unix:///nonexistent.sock'}]\n"


def in_sync(*names: tuple[str, int | None]) -> audit_report.Report:
    collector = samples.AuditCollector(samples.STARTED, samples.RUN)
    collector.expect({name: None if number is None else samples.workspace_id(number) for name, number in names})
    for name, _number in names:
        collector.result(name, samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), samples.STARTED + 5)
    return collector.report(samples.STARTED + 10)


@pytest.fixture
def reports(tmp_path: pathlib.Path) -> list[str]:
    """Two slices, all in sync."""
    for name, report in (("1", in_sync(("w1", 1))), ("2", in_sync(("w2", 2)))):
        audit_report.write(tmp_path / f"{name}.json", audit_report.as_json(report))
    return [str(tmp_path / "1.json"), str(tmp_path / "2.json")]


@pytest.fixture
def inventory(tmp_path: pathlib.Path) -> str:
    hosts = {f"w{number}": {"workspace_id": samples.workspace_id(number), "wanted": "{{ undefined }}"} for number in (1, 2)}
    later = {"w3": {"workspace_id": samples.workspace_id(3)}, "w4": {"workspace_id": "{{ looked_up }}"}}
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"workspaces": {"hosts": hosts, "children": {"later": {"hosts": later}}}, "engines": {"hosts": {"rack-1": {}}}}))
    return str(path)


def merge(tmp_path: pathlib.Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_", "DOCKER_"))}
    return subprocess.run(
        [sys.executable, str(COMMAND), "merge", *arguments, "--output-dir", str(tmp_path / "merged")],
        env={**kept, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "COLUMNS": "250", **environment},
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def merged(tmp_path: pathlib.Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((tmp_path / "merged" / "drift.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(report)
    return report


def states(report: dict[str, Any]) -> dict[str, str]:
    return {record["host"]: record["state"] for record in report["workspaces"]}


def test_what_the_inventory_names_and_no_report_holds_is_unknown(reports: list[str], inventory: str, tmp_path: pathlib.Path) -> None:
    """Whatever a user has set for other runs of Ansible."""
    run = merge(tmp_path, *reports, "-i", inventory, ANSIBLE_VERBOSITY="3", ANSIBLE_DEBUG="true", ANSIBLE_INVENTORY_EXPORT="false")
    assert run.returncode == 4, run.stdout + run.stderr
    report = merged(tmp_path)
    assert states(report) == {"w1": "in_sync", "w2": "in_sync", "w3": "unknown", "w4": "unknown"}
    third, fourth = report["workspaces"][2:]
    assert (third["workspace_id"], fourth["workspace_id"]) == (samples.workspace_id(3), None)
    assert third["reason"].startswith("the inventory names it, and no report is about it") and (third["checked"], third["run"]) == (None, "")
    assert "Audit of 4 workspaces: 2 in sync, 0 drifted, 2 unknown" in run.stdout
    assert ElementTree.parse(tmp_path / "merged" / "drift.xml").getroot().get("errors") == "2"


def test_a_limit_is_that_of_the_audits(reports: list[str], inventory: str, tmp_path: pathlib.Path) -> None:
    assert merge(tmp_path, *reports, "-i", inventory, "--limit", "w1:w2:rack-1").returncode == 0
    assert states(merged(tmp_path)) == {"w1": "in_sync", "w2": "in_sync"}
    nothing = merge(tmp_path, *reports, "-i", inventory, "--limit", "w99")
    assert nothing.returncode == 1 and "names no workspace of the group 'workspaces' within the limit 'w99'" in nothing.stderr, nothing.stderr
    other = merge(tmp_path, *reports, "-i", inventory, "--hosts", "later")
    assert other.returncode == 4 and states(merged(tmp_path))["w3"] == "unknown"
    alone = merge(tmp_path, *reports, "--limit", "w1")
    assert alone.returncode == 1 and "give --inventory" in alone.stderr


def test_sources_that_failed_are_reported_also_without_any_workspace(reports: list[str], inventory: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "fleet.workspaces.yml").write_text(MARKED)
    run = merge(tmp_path, *reports, "-i", str(tmp_path / "fleet.workspaces.yml"))
    assert run.returncode == 4, run.stdout + run.stderr
    assert [(one["source"], one["inventory"]) for one in merged(tmp_path)["failures"]] == [("rack-2", "fleet.workspaces.yml")]


def test_an_inventory_that_cannot_be_read_is_no_inventory_without_hosts(reports: list[str], tmp_path: pathlib.Path) -> None:
    (tmp_path / "broken.yml").write_text("plugin: no.such.plugin\n")
    run = merge(tmp_path, *reports, "-i", "broken.yml")
    assert run.returncode == 1 and "molecule-audit: ansible-inventory failed: " in run.stderr and "broken.yml" in "".join(run.stderr.split()), run.stderr
    assert "Traceback" not in run.stderr and not (tmp_path / "merged").exists()


@pytest.mark.parametrize("answer", ["", "hello", "[]", '{"_meta": 1}', '{"_meta": {"hostvars": {}}, "workspaces": {"hosts": 7}}'])
def test_an_answer_that_is_no_inventory_is_one_sentence(answer: str, reports: list[str], tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_command import main

    program = tmp_path / "ansible-inventory"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert main(["merge", *reports, "-i", "x", "--output-dir", str(tmp_path / "merged")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("molecule-audit: ansible-inventory did not answer with an inventory (") and said.count("\n") == 1


def test_fewer_runs_than_expected_are_no_whole_audit(reports: list[str], tmp_path: pathlib.Path) -> None:
    assert merge(tmp_path, *reports, "--expect-runs", "2").returncode == 0
    # a report that is given twice is still one run
    run = merge(tmp_path, *reports, reports[0], "--expect-runs", "3")
    assert run.returncode == 4, run.stdout
    assert "runs  MISSING  there are reports of 2 of 3 expected runs" in run.stdout and "workspaces may be missing, for runs are missing" in run.stdout
    report = merged(tmp_path)
    assert report["totals"]["failures"] == 1 and report["failures"][0]["type"] == "runs"
    case = ElementTree.parse(tmp_path / "merged" / "drift.xml").getroot().find("testsuite/testcase")
    assert case is not None and case.get("name") == "runs" and case.find("error") is not None
    assert merge(tmp_path, *reports, "--expect-runs", "3", "--fail-on", "drift").returncode == 0
    assert merge(tmp_path, *reports, "--expect-runs", "many").returncode == 1


@pytest.mark.parametrize(("reported", "expected", "hosts"), [
    # a controller that calls it otherwise, and one that knows no id
    ((("other-name", 1),), {"w1": samples.workspace_id(1)}, ["other-name"]),
    ((("w1", None),), {"w1": samples.workspace_id(1)}, ["w1"]),
    ((("w1", 1),), {"w1": None}, ["w1"]),
    # re-created under its name: what was looked at is another one
    ((("w1", 1),), {"w1": samples.workspace_id(2)}, ["w1", "w1"]),
    # two names for one
    ((), {"b": samples.workspace_id(1), "a": samples.workspace_id(1)}, ["b"]),
    ((("w1", 1), ("other", 3)), {"w1": None, "other": None}, ["other", "w1"]),
])
def test_a_workspace_is_its_id(reported, expected, hosts) -> None:
    report = audit_merge.merge([in_sync(*reported)])
    completed = audit_expected.with_expected(report, audit_expected.Expected(expected))
    assert [record["host"] for record in completed["workspaces"]] == hosts
    assert completed["totals"]["unknown"] == len(hosts) - len(reported)


def test_a_later_report_about_an_expected_workspace_takes_its_place() -> None:
    """What was missing from one merge is not missing for ever."""
    expected = audit_expected.Expected({"w1": samples.workspace_id(1), "w2": samples.workspace_id(2)})
    incomplete = audit_expected.with_expected(audit_merge.merge([in_sync(("w1", 1))]), expected)
    assert states(audit_merge.merge([in_sync(("w2", 2)), incomplete])) == {"w1": "in_sync", "w2": "in_sync"}
