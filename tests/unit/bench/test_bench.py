# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's judgement: bars out of data, what was missed, and contestants that did not do their job."""
from __future__ import annotations

import pathlib
import sys
from typing import Any

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import bars
import bench
import measure
import report


def _figures(**walls: float) -> dict[str, Any]:
    return {name: {"shown": name, "wall": {"median": wall, "all": [wall]}, "cpu": {"median": wall / 2, "all": [wall / 2]}} for name, wall in walls.items()}


def _table(scenario: str, results: dict[str, Any], **keys: Any) -> dict[str, Any]:
    measured = {"ansible_core": "2.19", "cores": 2, "load": 0.1, "date": "2026-01-01"}
    return {"scenario": scenario, "results": results, "measured": measured, **keys}


def _bar(name: str) -> bars.Bar:
    (found,) = [threshold for threshold in bars.BARS if threshold.name == name]
    return found


def test_a_ratio_is_of_medians_of_one_table() -> None:
    data = [_table("no-op", _figures(ping=10.0, task=7.0), hosts=20), _table("no-op", _figures(ping=10.0, task=9.0), hosts=100)]
    near, far = (_bar(f"no-op converge, the task, {hosts} workspaces: wall against ping's") for hosts in (20, 100))
    assert (near.figure(data), far.figure(data)) == (0.7, 0.9)
    assert near.met(0.7)
    assert not far.met(0.9)


def test_what_was_not_measured_or_not_done_has_no_figure() -> None:
    failed = {**_figures(ping=10.0), "task": {"shown": "task", "error": "nothing was installed"}}
    threshold = _bar("no-op converge, the task, 20 workspaces: wall against ping's")
    assert threshold.figure([]) is None
    assert threshold.figure([_table("no-op", failed, hosts=20)]) is None


def test_round_trips_are_what_latency_adds_beyond_ping() -> None:
    data = [
        _table("install", _figures(ping=1.0, one=2.0), hosts=1, latency=0),
        _table("install", _figures(ping=1.3, one=2.75), hosts=1, latency=150),
    ]
    assert _bar("round trips more than ping, at 150 ms").figure(data) == pytest.approx(3.0)


def test_cost_of_a_workspace_leaves_the_start_out() -> None:
    data = [_table("scale", _figures(**{"1": 2.0, "11": 3.0, "101": 12.0}), small=11, large=101)]
    assert _bar("cost of a workspace among many against among few").figure(data) == pytest.approx(1.0)


def test_more_is_better_where_a_peer_is_to_be_slower() -> None:
    threshold = _bar("platform's install of 4 plugins against ours")
    assert threshold.figure([_table("platform", _figures(ours=2.0, platform=8.0))]) == 4.0
    assert threshold.met(4.0)
    assert not threshold.met(2.0)


def test_the_page_says_what_is_missed_what_failed_and_what_was_not_measured() -> None:
    failed = {**_figures(ping=10.0, task=9.0), "rsync": {"shown": "rsync", "error": "start\nERROR: no such | program\nmore"}}
    page = report.page([_table("no-op", failed, hosts=20)])
    assert "| 1 | no-op converge, the task, 20 workspaces: wall against ping's | 0.90× | ≤ 0.8× | **missed** |" in page
    assert "| 1 | no-op converge, the task, 20 workspaces: cpu against ping's | 0.90× | ≤ 1× | met |" in page
    assert "not measured yet" in page
    assert "| rsync | not done |" in page
    assert "`ERROR: no such / program`" in page


def test_every_reason_belongs_to_a_bar() -> None:
    assert all(any(name in threshold.name for threshold in bars.BARS) for name in bars.REASONS)


def test_a_contestant_that_fails_once_has_no_time_at_all() -> None:
    rounds: list[int] = []

    def check(_reading: measure.Reading) -> None:
        rounds.append(1)
        if len(rounds) == 2:
            raise measure.NotDone("the second time, nothing was there")

    reading = measure.Reading(1.0, 0.5, 10.0, "")
    results = measure.compare([measure.Contestant("good", "good", lambda: reading), measure.Contestant("bad", "bad", lambda: reading, check=check)], 3)
    assert results["good"].wall == [1.0, 1.0, 1.0]
    assert results["bad"].data() == {"shown": "bad", "error": "the second time, nothing was there"}


def test_a_run_is_measured_with_what_it_started_and_another_status_is_an_error() -> None:
    reading = measure.run([sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(3000000))']); print('done')"])
    assert reading.output == "done\n"
    assert reading.cpu > 0
    assert reading.memory > 1
    with pytest.raises(measure.NotDone, match="status 3"):
        measure.run([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_table_that_is_measured_again_replaces_the_old_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "data.json"
    bench.save(path, [_table("no-op", _figures(ping=1.0), hosts=20), _table("no-op", _figures(ping=2.0), hosts=100)])
    bench.save(path, [_table("no-op", _figures(ping=3.0), hosts=20)])
    tables = bench.json.loads(path.read_text())["tables"]
    assert sorted((table["hosts"], table["results"]["ping"]["wall"]["median"]) for table in tables) == [(20, 3.0), (100, 2.0)]
