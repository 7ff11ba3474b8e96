# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a change of a fleet, when it is announced, and what never is."""
from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import fleet_watch
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_watch import Change, Patience, Sighting, Watch

PATIENCE = Patience(settle=30, min_absence=300, backoff=60, backoff_max=3600, repeat=900)
OLD, NEW, NEWER = "i-00000001", "i-00000002", "i-00000003"


def eic(identity: str | None = OLD, *, online: bool = True, known: bool = True, workspace_id: str = "a") -> Sighting:
    return Sighting(workspace_id, f"host-{workspace_id}", "eic" if identity else "none", known, identity, online)


def container(identity: str) -> Sighting:
    return Sighting("a", "host-a", "docker", True, identity, True)


Looks = t.Sequence[tuple[float, t.Sequence[Sighting]]]


def play(watch: Watch, looks: Looks) -> list[tuple[float, Change]]:
    """Every announcement with its time; all looks are complete."""
    return [(now, change) for now, sightings in looks for change in watch.observe(sightings, True, now)]


def every(seconds: int, until: int, sighting: Sighting, start: int = 0) -> list[tuple[float, list[Sighting]]]:
    return [(float(now), [sighting]) for now in range(start, until, seconds)]


def reasons(looks: Looks, patience: Patience = PATIENCE) -> list[tuple[float, str, str | None, str]]:
    return [(now, change.reason, change.previous, change.identity) for now, change in play(Watch(patience), looks)]


QUIET: dict[str, Looks] = {
    "nothing ever happens": every(10, 5000, eic()),
    "the baseline": [(0, [eic(), eic(workspace_id="b")]), (10, [eic(), eic(workspace_id="b")])],
    "a restart in place that the platform notices": [*every(10, 100, eic()), *every(10, 390, eic(online=False), 100), *every(10, 2000, eic(), 390)],
    "a restart in place of a container": [(0, [container("c1")]), (10, [eic(None)]), (20, [container("c1")]), (100, [container("c1")])],
    "sources that fail for a long time": [(0, [eic()]), *every(10, 5000, eic(None, known=False), 10), (5000, [eic()]), (5100, [eic()])],
    "gone from the inventory, briefly": [(0, [eic()]), (10, []), (200, [eic()]), (300, [eic()])],
    "a new instance that has not come up": [(0, [eic()]), *every(10, 5000, eic(NEW, online=False), 10)],
    "a new instance that has not settled": [(0, [eic()]), (10, [eic(NEW)]), (30, [eic(NEW)])],
}


@pytest.mark.parametrize("looks", QUIET.values(), ids=QUIET)
def test_no_change(looks: Looks) -> None:
    assert reasons(looks) == []


def test_a_new_instance_once_when_it_has_settled() -> None:
    """Provisioning does not count as being there, and it is announced once."""
    looks = [(0, [eic()]), *every(10, 100, eic(NEW, online=False), 10), *every(10, 5000, eic(NEW), 100)]
    assert reasons(looks) == [(130, "new_instance", OLD, NEW)]


def test_a_new_container() -> None:
    assert reasons([(0, [container("c1")]), *every(10, 500, container("c2"), 10)]) == [(40, "new_container", "c1", "c2")]


def test_a_workspace_that_moved_between_tiers() -> None:
    assert reasons([(0, [container("c1")]), (10, [eic(NEW)]), (40, [eic(NEW)])]) == [(40, "new_instance", "c1", NEW)]


def test_a_new_workspace() -> None:
    """After the baseline, also one that is first seen while it is being provisioned."""
    both = [eic(), eic(NEW, workspace_id="b")]
    looks: Looks = [(0, [eic()]), (10, [eic(), eic(None, online=False, workspace_id="b")]), (20, both), (50, both), (90, both)]
    assert [(now, change.workspace_id, change.reason) for now, change in play(Watch(PATIENCE), looks)] == [(50, "b", "new_workspace")]


def test_back_online_after_an_absence() -> None:
    """On the same instance, so it may have missed a sync meanwhile."""
    looks = [(0, [eic()]), *every(10, 310, eic(online=False), 10), *every(10, 1000, eic(), 310)]
    assert reasons(looks) == [(340, "back_online", OLD, OLD)]


def test_several_changes_before_it_settles_are_one() -> None:
    looks = [(0, [eic()]), (10, [eic(NEW)]), (20, [eic(NEWER)]), *every(10, 200, eic(NEWER), 30)]
    assert reasons(looks) == [(50, "new_instance", OLD, NEWER)]


def test_what_leaves_before_it_settles_settles_anew() -> None:
    looks = [(0, [eic()]), (10, [eic(NEW)]), (30, [eic(NEW, online=False)]), (50, [eic(NEW)]), (70, [eic(NEW)]), (80, [eic(NEW)])]
    assert reasons(looks) == [(80, "new_instance", OLD, NEW)]


def test_backoff_of_a_workspace_that_never_stays() -> None:
    """The pauses double up to the limit, and are short again after a quiet time."""
    patience = Patience(settle=0, backoff=100, backoff_max=1000)
    looks = [(float(now), [eic(f"i-{now:08x}")]) for now in range(0, 6000, 10)]
    times = [now for now, *_rest in reasons(looks, patience)]
    assert times[0] == 10
    assert [after - before for before, after in zip(times, times[1:])][:6] == [100, 200, 400, 800, 1000, 100]


def test_incomplete_looks() -> None:
    """What a failed source hides is not gone, and a baseline is only complete when everything was seen."""
    watch = Watch(PATIENCE)
    assert watch.observe([eic()], False, 0) == [] and not watch.has_baseline
    assert play(watch, [(10, [eic(), eic(workspace_id="b")]), (1000, [eic(), eic(workspace_id="b")])]) == []
    assert watch.has_baseline
    for now in range(1010, 2000, 10):
        assert watch.observe([eic()], False, now) == []
    assert play(watch, [(2000, [eic(), eic(workspace_id="b")]), (2100, [eic(), eic(workspace_id="b")])]) == []


def again(watch: Watch, now: float) -> Watch:
    """The watch as its state file brings it back."""
    return Watch(PATIENCE, fleet_watch.records_from_data(json.loads(json.dumps(watch.to_data()))), now)


def test_what_changed_while_the_watch_was_down() -> None:
    watch = Watch(PATIENCE)
    play(watch, [(0, [eic(), eic(workspace_id="b")])])
    later = again(watch, 5000)
    found = play(later, [(float(now), [eic(NEW), eic(workspace_id="b"), eic(workspace_id="c")]) for now in range(5000, 6000, 10)])
    assert [(now, change.workspace_id, change.reason, change.repeated) for now, change in found] == [
        (5030, "a", "new_instance", False), (5030, "c", "new_workspace", False)]


@pytest.mark.parametrize(("down_until", "expected"), [(200, [("new_instance", OLD, NEW, True)]), (2000, [])])
def test_what_was_announced_shortly_before_the_end_is_announced_again(down_until: int, expected: list[tuple[object, ...]]) -> None:
    watch = Watch(PATIENCE)
    assert len(play(watch, [(0, [eic()]), (10, [eic(NEW)]), (50, [eic(NEW)])])) == 1
    found = play(again(watch, down_until), every(10, down_until + 3000, eic(NEW), down_until))
    assert [(change.reason, change.previous, change.identity, change.repeated) for _now, change in found] == expected


def test_a_pending_change_survives() -> None:
    watch = Watch(PATIENCE)
    play(watch, [(0, [eic()]), (10, [eic(NEW)])])
    assert [change.reason for _now, change in play(again(watch, 20), every(10, 200, eic(NEW), 20))] == ["new_instance"]


def test_what_is_gone_is_forgotten_at_last() -> None:
    watch = Watch(PATIENCE)
    play(watch, [(0, [eic()]), (fleet_watch.FORGET_AFTER, []), (fleet_watch.FORGET_AFTER + 1, [])])
    assert watch.to_data() == {}


@pytest.mark.parametrize("data", [{"a": {}}, {"a": None}, {"a": {"seen": "x", "pending": None}}, {"a": {"seen": 1, "pending": {"reason": "x"}}}])
def test_damaged_data_is_refused(data: dict[str, t.Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        fleet_watch.records_from_data(data)
