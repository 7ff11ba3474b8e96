# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit concludes from results: the states of workspaces and plugins, and that nothing is fine before it was looked at."""
from __future__ import annotations

import audit_samples as samples
import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_collector import AuditCollector
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_diff import diffs_of


@pytest.fixture
def collector() -> AuditCollector:
    return AuditCollector(samples.STARTED, samples.RUN)


def states(collector: AuditCollector) -> dict[str, str]:
    return {record["host"]: record["state"] for record in collector.report(samples.STARTED + 1)["workspaces"]}


def only(collector: AuditCollector) -> dict:
    (record,) = collector.report(samples.STARTED + 1)["workspaces"]
    return record


def test_each_state_of_a_workspace_and_of_a_plugin() -> None:
    report = samples.five_states().report(samples.STARTED + 170)
    found = {record["host"]: (record["state"], {plugin["name"]: plugin["state"] for plugin in record["plugins"]}) for record in report["workspaces"]}
    assert found == {
        "in-sync": ("in_sync", {"careful-bash": "in_sync", "ecc": "in_sync"}),
        "tampered": ("drift", {
            "careful-bash": "modified", "ecc": "missing", "old-plugin": "extra", "experiment": "unmanaged", "superpowers": "placement"}),
        "waiting": ("drift", {"careful-bash": "restart_pending", "ecc": "in_sync"}),
        "unreachable": ("unknown", {}), "failed-lookup": ("unknown", {}), "never": ("unknown", {}), "outside": ("external", {}), "gone": ("none", {}),
    }
    assert report["totals"]["plugins"] == {
        "in_sync": 3, "missing": 1, "modified": 1, "extra": 1, "unmanaged": 1, "placement": 1, "restart_pending": 1}
    assert report["totals"]["versions"]["ecc"] == {"2.0.1": 2}
    assert report["totals"]["restart_pending"] == 1


def test_a_plugin_with_one_missing_file_is_modified_not_missing(collector: AuditCollector) -> None:
    differences = [samples.drift("ecc", "missing", "rules/a.md")]
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc", drift_count=1)], differences), samples.STARTED)
    assert only(collector)["plugins"][0]["state"] == "modified"


def test_more_differences_than_are_listed_are_counted(collector: AuditCollector) -> None:
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc", drift_count=500)], [samples.drift("ecc", "modified", "x")]), 0)
    assert only(collector)["plugins"][0]["drift_count"] == 500


def test_a_workspace_with_an_interrupted_run_is_not_in_sync(collector: AuditCollector) -> None:
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")], changed=True, warnings=["an interrupted run"]), 0)
    record = only(collector)
    assert record["state"] == "drift" and record["reason"] == "an interrupted run has to be finished" and record["notes"] == ["an interrupted run"]


def test_hidden_results_are_unknown(collector: AuditCollector) -> None:
    collector.result("a", samples.PLUGIN, {"censored": "the output has been hidden", "changed": True}, 0)
    record = only(collector)
    assert record["state"] == "unknown" and "no_log" in record["reason"] and record["plugins"] == []


def test_a_failure_after_a_successful_look_does_not_hide_it_but_a_failed_look_does(collector: AuditCollector) -> None:
    collector.expect({"a": None})
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), 0)
    collector.failure("a", "ansible.builtin.fail", {"msg": "policy"}, 1)
    assert states(collector) == {"a": "in_sync"}
    collector.failure("a", samples.PLUGIN, {"msg": "the second list could not be looked at"}, 2)
    assert states(collector) == {"a": "unknown"}


@pytest.mark.parametrize("blind", ["failed", "hidden", "one item of a loop"])
def test_an_inspection_that_failed_is_not_made_good_by_another_that_succeeds(collector: AuditCollector, blind: str) -> None:
    good = samples.inspection([samples.plugin("ecc")])
    collector.result("a", samples.BACKEND, samples.backend(1), 0)
    if blind == "failed":
        collector.failure("a", samples.PLUGIN, {"msg": "the first list could not be looked at"}, 1)
        collector.result("a", samples.PLUGIN, good, 2)
    elif blind == "hidden":
        collector.result("a", samples.PLUGIN, {"censored": "the output has been hidden", "changed": True}, 1)
        collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")], [samples.drift("mail", "unmanaged")]), 2)
    else:
        collector.result("a", samples.PLUGIN, {"results": [{"censored": "hidden"}, good]}, 1)
    collector.result("a", samples.BACKEND, samples.backend(1), 3)
    record = only(collector)
    assert record["state"] == "unknown" and {plugin["name"]: plugin["state"] for plugin in record["plugins"]}["ecc"] == "in_sync"
    assert record["reason"].startswith("the first list could" if blind == "failed" else "the result of its inspection is hidden")


def test_a_lookup_that_failed_is_made_good_by_one_that_succeeds(collector: AuditCollector) -> None:
    collector.failure("a", samples.BACKEND, {"msg": "the engine did not answer"}, 0)
    collector.result("a", samples.BACKEND, samples.backend(1), 1)
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), 2)
    assert states(collector) == {"a": "in_sync"}


def test_a_failed_source_of_the_inventory_is_reported_once_even_without_a_workspace(collector: AuditCollector) -> None:
    assert not collector.seen
    collector.incomplete([samples.FAILED_SOURCE])
    collector.incomplete([samples.FAILED_SOURCE, {**samples.FAILED_SOURCE, "source": "an\x1bother"}])
    report = collector.report(samples.STARTED + 1)
    assert collector.seen and report["workspaces"] == [] and report["totals"]["failures"] == 2
    assert [failure["source"] for failure in report["failures"]] == ["an\\x1bother", "rack-2"]


def test_a_failure_before_the_first_look_counts_once_the_play_is_known_as_an_audit(collector: AuditCollector) -> None:
    collector.failure("a", "ansible.builtin.validate_argument_spec", {"msg": "workspace_id is missing"}, 0)
    assert not collector.seen
    collector.expect({"a": None, "b": None})
    assert {record["host"]: record["reason"] for record in collector.report(1)["workspaces"]} == {
        "a": "workspace_id is missing", "b": "the run ended before it was looked at"}


def test_failures_of_a_run_that_is_no_audit_are_nothing_to_report(collector: AuditCollector) -> None:
    collector.failure("a", "ansible.builtin.command", {"msg": "no"}, 0)
    collector.result("a", "ansible.builtin.command", {"changed": True}, 0)
    assert not collector.seen and collector.report(1)["workspaces"] == []


def test_several_tasks_and_loops_add_up(collector: AuditCollector) -> None:
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")], [samples.drift("mail", "unmanaged")]), 0)
    one = samples.inspection([samples.plugin("mail", drift_count=1)], [samples.drift("mail", "modified", "x"), samples.drift("ecc", "unmanaged")])
    collector.result("a", samples.PLUGIN, {"changed": True, "results": [one, {"skipped": True}]}, 0)
    assert {plugin["name"]: plugin["state"] for plugin in only(collector)["plugins"]} == {"ecc": "in_sync", "mail": "modified"}


def test_progress_counts() -> None:
    collector = samples.five_states()
    assert (collector.total, collector.done, collector.count("drift"), collector.count("unknown"), collector.count("none")) == (8, 7, 2, 2, 1)


def test_diffs_name_their_plugin_and_show_no_control_characters() -> None:
    given = [samples.DIFF, {"prepared": "placements of plugin ecc\n- CLAUDE.md\x1b[31m\n"}, {"prepared": "and 3 more files differ\n"}, "nonsense"]
    diffs = diffs_of(given)
    assert [(diff["plugin"], diff["title"]) for diff in diffs] == [
        ("careful-bash", "plugins/careful-bash/rules/careful-bash.md"), ("ecc", "placements of plugin ecc"), (None, "and 3 more files differ")]
    assert diffs[0]["text"].splitlines()[-2:] == ["-tampered", "+Before a command that deletes:"]
    assert diffs[1]["text"].splitlines()[1] == "- CLAUDE.md\\x1b[31m"
    assert diffs_of(None) == []
