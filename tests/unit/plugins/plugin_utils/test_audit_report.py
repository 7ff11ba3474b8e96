# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as a file: valid against its schema, whole or not there, read with suspicion; its policy, history and merge."""
from __future__ import annotations

import itertools
import json
import pathlib
import stat

import audit_samples as samples
import jsonschema
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import audit_files, audit_history, audit_merge, audit_report

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "drift-1.schema.json").read_text(encoding="utf-8"))
FINISHED = samples.STARTED + 170


@pytest.fixture
def report() -> audit_report.Report:
    return samples.five_states().report(FINISHED)


def validate(text: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(json.loads(text))


@pytest.mark.parametrize("collector", [samples.five_states(), samples.hostile(), samples.fleet(60, 8, 0.5)])
def test_reports_follow_their_schema_and_read_back_the_same(collector, tmp_path) -> None:
    report = collector.report(FINISHED)
    validate(audit_report.as_json(report))
    audit_report.write(tmp_path / "drift.json", audit_report.as_json(report))
    assert audit_report.read(tmp_path / "drift.json") == report


def test_the_schema_is_strict(report) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for change in ({"version": 2}, {"unheard_of": 1}, {"workspaces": [{**report["workspaces"][0], "state": "fine"}]}, {"finished": 5}):
        with pytest.raises(jsonschema.ValidationError):
            validate(json.dumps({**report, **change}))


@pytest.mark.parametrize(("drift", "unknown", "none", "failures", "fail_on", "status"), [
    (0, 0, 0, 0, ["drift", "unknown", "none"], 0), (1, 0, 0, 0, ["drift", "unknown", "none"], 2), (0, 1, 0, 0, ["drift", "unknown", "none"], 4),
    (0, 0, 1, 0, ["drift", "unknown", "none"], 4), (1, 1, 1, 0, ["drift", "unknown", "none"], 6), (1, 1, 1, 0, ["unknown"], 4), (1, 1, 1, 1, [], 0),
    (1, 0, 1, 1, ["drift"], 2), (0, 0, 1, 0, ["unknown"], 0), (0, 0, 0, 1, ["unknown"], 4), (1, 0, 0, 1, ["drift", "unknown"], 6), (0, 0, 0, 1, ["none"], 0),
])
def test_exit_status_by_policy(drift, unknown, none, failures, fail_on, status) -> None:
    assert audit_report.exit_status({"totals": {"drift": drift, "unknown": unknown, "none": none, "failures": failures}}, fail_on) == status


def test_a_failed_source_stays_in_a_merged_report_once(report, tmp_path) -> None:
    collector = samples.AuditCollector(samples.STARTED + 500, samples.RUN)
    collector.incomplete([samples.FAILED_SOURCE])
    merged = audit_merge.merge([report, collector.report(FINISHED + 500), collector.report(FINISHED + 600)])
    assert merged["failures"] == [samples.FAILED_SOURCE] and merged["totals"]["failures"] == 1
    audit_history.append(tmp_path / "history.jsonl", merged)
    assert json.loads((tmp_path / "history.jsonl").read_text())["failures"] == 1
    validate(audit_report.as_json(merged))


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'fine' is unknown"):
        audit_report.exit_status({"totals": {}}, ["fine"])


@pytest.mark.parametrize(("content", "problem"), [
    ("", "is not JSON"), ("[]", "it is no report"), ("{}", "its version is None"), ('{"version": 1}', "'runs'"),
    ('{"version": 1, "runs": [{}], "workspaces": [], "conflicts": []}', "'runs' has an element without a usable 'id'"),
    ('{"version": 1, "runs": [], "conflicts": [], "workspaces": []}', "'failures' is no list"),
    ('{"version": 1, "runs": [], "failures": [], "conflicts": [], "workspaces": [{"host": "a", "run": "r", "state": "fine"}]}',
     "'workspaces' has an element without a usable"),
])
def test_what_is_no_report_is_refused_with_the_path(tmp_path, content, problem) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(WorkspaceError, match=problem) as error:
        audit_report.read(path)
    assert str(path) in str(error.value)


def test_a_missing_report_is_an_error(tmp_path) -> None:
    with pytest.raises(WorkspaceError, match="cannot be read"):
        audit_report.read(tmp_path / "none.json")


def test_every_field_that_is_relied_on_is_checked(report, tmp_path) -> None:
    """Each required field of a workspace and of its plugins is taken away or broken in turn: nothing else than an error may come of it."""
    tampered = next(record for record in report["workspaces"] if record["host"] == "tampered")
    path = tmp_path / "x.json"
    report["failures"] = [dict(samples.FAILED_SOURCE)]
    for target in (report["failures"][0], tampered, tampered["plugins"][0], tampered["plugins"][0]["drift"][0], tampered["diffs"][0], report["runs"][0]):
        for key, value in list(target.items()):
            for broken in ({}, {key: {"not": "this"}}, {key: None}, {key: 7}):
                del target[key]
                target.update(broken)
                path.write_text(json.dumps(report))
                try:
                    read = audit_merge.merge([audit_report.read(path)])
                    audit_files.write_files(read, tmp_path / "out", ["json", "junit", "html"], None, "x")
                except WorkspaceError:
                    pass
                target[key] = value


def test_files_are_whole_or_not_there_and_follow_the_umask(report, tmp_path) -> None:
    paths = audit_files.write_files(report, tmp_path / "new" / "out", ["json", "junit", "html"], tmp_path / "history.jsonl", "Title")
    assert [path.name for path in paths] == ["drift.json", "drift.xml", "drift.html"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o666 & ~audit_report._umask()}
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["drift.html", "drift.json", "drift.xml"]
    with pytest.raises(InvalidInputError, match="'pdf'"):
        audit_files.write_files(report, tmp_path, ["pdf"], None, "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        audit_report.write(tmp_path / "file" / "drift.json", "x")


def test_history_is_appended_and_survives_a_broken_line(report, tmp_path) -> None:
    path = tmp_path / "deep" / "history.jsonl"
    assert audit_history.read(path) == []
    audit_history.append(path, report)
    with path.open("ab") as stream:
        stream.write(b'{"finished": "2026')
    audit_history.append(path, report)
    path.write_bytes(path.read_bytes() + b'{"finished": "2026-01-01", "workspaces": -1}\n[]\n\xff\n')
    entries = audit_history.read(path)
    assert [(entry["workspaces"], entry["drift"], entry["unknown"]) for entry in entries] == [(8, 2, 3), (8, 2, 3)]


def part(host: str, number: int | None, state: str, checked: float | None, started: float = samples.STARTED):
    """A report about one workspace."""
    collector = samples.AuditCollector(started, samples.RUN)
    collector.expect({host: None if number is None else samples.workspace_id(number)})
    if state == "unknown":
        if checked is not None:
            collector.failure(host, samples.PLUGIN, {"msg": "no"}, checked)
    else:
        differences = [samples.drift("ecc", "modified", "x")] if state == "drift" else []
        collector.result(host, samples.PLUGIN, samples.inspection([samples.plugin("ecc", drift_count=len(differences))], differences), checked)
    collector.expect({host: None} if number is None else {})
    return collector.report(started + 100)


def in_short(report) -> list[tuple]:
    return [(record["host"], record["workspace_id"], record["state"]) for record in report["workspaces"]]


def test_slices_add_up_without_losing_or_doubling_a_workspace() -> None:
    slices = [part(f"w{index}", index, "drift" if index % 2 else "in_sync", samples.STARTED) for index in range(4)]
    merged = audit_merge.merge(slices)
    assert [record[0] for record in in_short(merged)] == ["w0", "w1", "w2", "w3"] and merged["conflicts"] == []
    assert (merged["totals"]["workspaces"], merged["totals"]["drift"], merged["totals"]["in_sync"]) == (4, 2, 2)
    assert len(merged["runs"]) == 4
    validate(audit_report.as_json(merged))


def test_the_newest_look_wins_whatever_the_order_and_the_conflict_is_noted() -> None:
    old, new = part("a", 1, "drift", samples.STARTED), part("other-name", 1, "in_sync", samples.STARTED + 60)
    for order in ([old, new], [new, old]):
        merged = audit_merge.merge(order)
        assert in_short(merged) == [("other-name", samples.workspace_id(1), "in_sync")]
        (conflict,) = merged["conflicts"]
        assert (conflict["kept"]["state"], conflict["dropped"]["state"], conflict["dropped"]["host"]) == ("in_sync", "drift", "a")
        validate(audit_report.as_json(merged))


def test_a_workspace_that_was_never_looked_at_does_not_replace_one_that_was() -> None:
    merged = audit_merge.merge([part("a", 1, "unknown", None, samples.STARTED + 500), part("a", 1, "drift", samples.STARTED)])
    assert in_short(merged) == [("a", samples.workspace_id(1), "drift")]


def test_equal_times_count_as_the_worse() -> None:
    parts = [part("a", 1, state, samples.STARTED) for state in ("in_sync", "drift", "unknown")]
    assert {in_short(audit_merge.merge(order))[0][2] for order in itertools.permutations(parts)} == {"unknown"}


def test_a_record_without_an_id_is_about_the_only_workspace_of_that_name() -> None:
    merged = audit_merge.merge([part("a", None, "unknown", samples.STARTED + 9), part("a", 1, "in_sync", samples.STARTED)])
    assert in_short(merged) == [("a", samples.workspace_id(1), "unknown")]
    both = [part("a", number, "in_sync", samples.STARTED) for number in (1, 2)]
    assert len(audit_merge.merge([part("a", None, "unknown", samples.STARTED + 9), *both])["workspaces"]) == 3


def test_merging_again_changes_nothing() -> None:
    parts = [part("a", 1, "drift", samples.STARTED), part("a", 1, "in_sync", samples.STARTED + 5), part("b", 2, "drift", samples.STARTED)]
    merged = audit_merge.merge(parts)
    assert audit_merge.merge([merged]) == merged
    assert audit_merge.merge([merged, *parts]) == merged
    assert audit_merge.merge([merged, merged]) == merged


def test_a_thousand_workspaces_from_ten_slices() -> None:
    whole = samples.fleet(1000, 3).report(FINISHED)
    slices = [{**whole, "workspaces": whole["workspaces"][index::10]} for index in range(10)]
    merged = audit_merge.merge(slices)
    assert merged["workspaces"] == whole["workspaces"] and merged["totals"] == whole["totals"] and merged["conflicts"] == []
