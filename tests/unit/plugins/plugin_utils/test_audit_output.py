# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and machines get to see: table, progress, JUnit, and the page's data."""
from __future__ import annotations

import io
import json
import re
from xml.etree import ElementTree

import audit_samples as samples
import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_junit import as_junit
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_page import as_page, page_data
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_progress import LiveLine, Milestones, progress_text
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_table import _columns, as_table

FINISHED = samples.STARTED + 170


class Counted:
    def __init__(self, done: int, total: int, **states: int) -> None:
        self.done, self.total, self._states = done, total, states

    def count(self, state: str) -> int:
        return self._states.get(state, 0)


def test_table_shows_what_needs_a_person_and_the_totals() -> None:
    lines = as_table(samples.five_states().report(FINISHED), 160, 50)
    assert [line.split()[0] for line in lines[1:-1]] == ["failed-lookup", "never", "unreachable", "gone", "tampered", "waiting"]
    assert "careful-bash modified (2), ecc missing" in lines[5]
    assert lines[-1] == "Audit of 8 workspaces: 1 in sync, 2 drifted, 3 unknown, 1 not there, 1 external, 1 waiting for a restart"
    assert len(as_table(samples.five_states().report(FINISHED), 160, 50, every=True)) == len(lines) + 2


def test_table_is_cut_to_the_number_of_rows() -> None:
    lines = as_table(samples.five_states().report(FINISHED), 160, 2)
    assert lines[3] == "and 4 more" and len(lines) == 5


@pytest.mark.parametrize("width", [40, 80, 120])
def test_hostile_texts_neither_break_the_table_nor_control_the_terminal(width: int) -> None:
    lines = as_table(samples.hostile().report(FINISHED), width, 50)
    assert len(lines) == 2 * len(samples.HOSTILE) + 1 + 1
    for line in lines[:-1]:
        assert _columns(line) <= width
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2028]", line)


def test_an_audit_in_sync_has_no_table_but_totals() -> None:
    collector = samples.AuditCollector(samples.STARTED, samples.RUN)
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), samples.STARTED)
    assert as_table(collector.report(FINISHED), 80, 50) == ["Audit of 1 workspace: 1 in sync, 0 drifted, 0 unknown, 0 not there"]


def with_a_failed_source() -> samples.AuditCollector:
    collector = samples.AuditCollector(samples.STARTED, samples.RUN)
    collector.result("a", samples.PLUGIN, samples.inspection([samples.plugin("ecc")]), samples.STARTED)
    collector.incomplete([samples.FAILED_SOURCE])
    return collector


def test_a_failed_source_is_in_the_table_and_in_its_last_line() -> None:
    lines = as_table(with_a_failed_source().report(FINISHED), 160, 50)
    assert lines[0].split()[:4] == ["inventory", "FAILED", "rack-2", "(docker,"] and "fleet.workspaces.yml): the Docker engine did not" in lines[0]
    assert lines[1:] == ["Audit of 1 workspace: 1 in sync, 0 drifted, 0 unknown, 0 not there; workspaces may be missing, for 1 source of the inventory failed"]
    assert as_table(with_a_failed_source().report(FINISHED), 160, 0)[-1] == lines[-1]


def test_a_failed_source_is_an_error_for_junit() -> None:
    root = ElementTree.fromstring(as_junit(with_a_failed_source().report(FINISHED)))
    suite = root[0]
    assert (suite.get("name"), suite.get("errors"), root.get("errors"), root.get("tests")) == ("(inventory)", "1", "1", "2")
    case = suite.find("testcase")
    assert (case.get("classname"), case.get("name")) == ("(inventory)", "fleet.workspaces.yml rack-2")
    assert case.find("error").get("message") == samples.FAILED_SOURCE["reason"]


def test_progress_says_how_far_how_fast_and_how_long() -> None:
    assert progress_text(Counted(500, 2000, drift=12, unknown=1, none=2), 100) == "Audit 500/2000 (25 %), 12 drifted, 3 unknown, 5.0/s, 5 min left"
    assert progress_text(Counted(2000, 2000), 100) == "Audit 2000/2000 (100 %), 0 drifted, 0 unknown, 20/s"
    assert progress_text(Counted(0, 2000), 0) == "Audit 0/2000 (0 %), 0 drifted, 0 unknown"
    assert "1 h 23 min left" in progress_text(Counted(100, 600), 1000)


def test_the_live_line_is_erased_before_other_output_and_not_drawn_too_often() -> None:
    stream = io.StringIO()
    line = LiveLine(stream)
    line.show("one", 80, 0.0)
    line.show("two", 80, 0.05)
    assert "two" not in stream.getvalue()
    line.erase()
    line.draw()
    line.close()
    line.draw()
    assert stream.getvalue() == "\r\x1b[Kone\r\x1b[K\r\x1b[Ktwo\r\x1b[K"


def test_the_live_line_never_wraps() -> None:
    stream = io.StringIO()
    LiveLine(stream).show("x" * 300, 40, 0.0)
    assert stream.getvalue() == "\r\x1b[K" + "x" * 39


def test_lines_come_first_then_in_intervals_and_once_at_the_end() -> None:
    milestones = Milestones(10)
    assert not milestones.due(Counted(0, 4), 0)
    assert [milestones.due(Counted(done, 4), now) for done, now in [(1, 1), (2, 5), (3, 12), (4, 13), (4, 99)]] == [True, False, True, True, False]


def test_junit_has_one_case_for_each_workspace_and_plugin() -> None:
    root = ElementTree.fromstring(as_junit(samples.five_states().report(FINISHED)))
    cases = {(case.get("classname"), case.get("name")): [(child.tag, child.get("type")) for child in case] for case in root.iter("testcase")}
    assert cases == {
        ("in-sync", "careful-bash"): [], ("in-sync", "ecc"): [], ("waiting", "careful-bash"): [("failure", "restart_pending")], ("waiting", "ecc"): [],
        ("tampered", "careful-bash"): [("failure", "modified")], ("tampered", "ecc"): [("failure", "missing")],
        ("tampered", "experiment"): [("failure", "unmanaged")], ("tampered", "old-plugin"): [("failure", "extra")],
        ("tampered", "superpowers"): [("failure", "placement")],
        ("unreachable", "(workspace)"): [("error", "unknown")], ("failed-lookup", "(workspace)"): [("error", "unknown")],
        ("never", "(workspace)"): [("error", "unknown")], ("gone", "(workspace)"): [("error", "none")], ("outside", "(workspace)"): [("skipped", None)],
    }
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {"tests": "14", "failures": "6", "errors": "4", "skipped": "1"}
    assert "modified rules/careful-bash.md: expected file of 38 bytes" in next(root.iter("failure")).text


def test_junit_of_hostile_names_is_still_xml() -> None:
    root = ElementTree.fromstring(as_junit(samples.hostile().report(FINISHED)).encode("utf-8"))
    assert [suite.get("name") for suite in root][1].startswith('"><svg')
    assert len(list(root)) == len(samples.HOSTILE) + 1


def test_the_page_holds_hostile_texts_as_data_only() -> None:
    report = samples.hostile().report(FINISHED)
    page = as_page(report, [], samples.HOSTILE[0])
    assert page.count("</script") == 2 and page.count("<script") == 2
    assert "<img" not in page and "<svg" not in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data) == json.loads(json.dumps(page_data(report, [], samples.HOSTILE[0])))
    # a place holder that somebody uses as a name is not filled in
    assert "@@script@@" in data


def test_the_page_loads_nothing_and_allows_only_its_own_script() -> None:
    page = as_page(samples.five_states().report(FINISHED), [], "Drift")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-") and "unsafe" not in policy
    assert not re.search(r"""(?:src|href)=["'](?!#)""", page.split('<script type="application/json"', maxsplit=1)[0])
    assert " style=" not in page


def test_the_same_diff_on_many_workspaces_is_in_the_page_once() -> None:
    collector = samples.AuditCollector(samples.STARTED, samples.RUN)
    for index in range(50):
        differences = [samples.drift("careful-bash", "modified", "rules/careful-bash.md")]
        result = samples.inspection([samples.plugin("careful-bash", drift_count=1)], differences, diff=[samples.DIFF])
        collector.result(f"w{index}", samples.PLUGIN, result, samples.STARTED)
    assert as_page(collector.report(FINISHED), [], "x").count("+Before a command that deletes:") == 1
