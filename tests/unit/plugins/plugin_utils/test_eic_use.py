# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which shared connection is idle, and which of them goes first."""
from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import time
from collections.abc import Collection

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_use

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def holders(tmp_path: pathlib.Path) -> list[dict[str, str]]:
    """Three connections, used 30, 20 and 10 s ago."""
    made = []
    for age, name in ((20, "middle"), (10, "youngest"), (30, "oldest")):
        file = eic_use.path(str(tmp_path), name)
        with eic_use.using(file):
            pass
        os.utime(file, (time.time() - age, time.time() - age))
        made.append({"use_file": file, "control_path": name})
    return made


def stop(holders: list[dict[str, str]], wanted: int = 1, alive: Collection[str] = ("oldest", "middle", "youngest", "new"), stuck: str = "") -> list[str]:
    """The ControlPaths that are asked to end, in this order; ``stuck`` does not obey."""
    asked: list[str] = []

    def ask(control_path: str) -> bool:
        asked.append(control_path)
        return control_path != stuck

    ended = eic_use.stop_least_recently_used(holders, wanted, lambda control_path: control_path in alive, ask)
    assert ended == len([name for name in asked if name != stuck])
    return asked


def test_the_least_recently_used_goes_first(holders: list[dict[str, str]]) -> None:
    assert stop(holders) == ["oldest"]
    assert stop(holders, 2) == ["oldest", "middle"]
    assert stop(holders, 9) == ["oldest", "middle", "youngest"]


def test_one_that_cannot_be_stopped_is_passed_over(holders: list[dict[str, str]]) -> None:
    assert stop(holders, stuck="oldest") == ["oldest", "middle"]
    assert stop([{}, {"use_file": "/nonexistent", "control_path": "x"}]) == []


def test_one_that_was_just_stopped_counts_until_it_had_time_to_let_go(holders: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert stop(holders) == ["oldest"]
    alive = ["middle", "youngest"]
    assert stop(holders, 1, alive) == [], "its slot is on its way"
    assert stop(holders, 2, alive) == ["middle"]
    # a session that nobody waits for any more keeps the slots of both
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3)
    assert stop(holders, 1, ["youngest"]) == ["youngest"]


def test_a_connection_that_died_by_itself_frees_no_slot_for_us(holders: list[dict[str, str]]) -> None:
    """Its slot is free, or held by what is left of it; either way, another one has to go."""
    assert stop(holders, 1, alive=["middle", "youngest"]) == ["middle"]


def test_one_connection_with_two_slots_is_stopped_once(holders: list[dict[str, str]]) -> None:
    assert stop([*holders, holders[2]], 2) == ["oldest", "middle"]


def test_one_that_was_used_between_the_look_and_the_lock_stays(holders: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    locked = eic_use._unused

    def just_used(file: str) -> contextlib.AbstractContextManager[int | None]:
        if file == holders[2]["use_file"]:
            os.utime(file)
        return locked(file)

    monkeypatch.setattr(eic_use, "_unused", just_used)
    assert stop(holders) == ["middle"]


def _use(file: str, ready: str) -> None:
    with eic_use.using(file):
        pathlib.Path(ready).touch()
        time.sleep(60)


def test_what_is_in_use_is_never_stopped_until_its_user_dies(holders: list[dict[str, str]], tmp_path: pathlib.Path) -> None:
    oldest = holders[2]["use_file"]
    user = FORK.Process(target=_use, args=(oldest, str(tmp_path / "ready")))
    user.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    os.utime(oldest, (0, 0))
    assert stop(holders[2:]) == []
    user.kill()
    user.join(10)
    assert stop(holders[2:]) == ["oldest"]


def test_what_was_used_just_now_is_not_idle(tmp_path: pathlib.Path) -> None:
    file = eic_use.path(str(tmp_path), "new")
    with eic_use.using(file):
        pass
    assert stop([{"use_file": file, "control_path": "new"}]) == []


def test_the_end_of_a_tunnel_is_remembered(tmp_path: pathlib.Path) -> None:
    file = eic_use.path(str(tmp_path), "new")
    assert eic_use.recorded_end(file) is None
    with eic_use.using(file):
        eic_use.record_end(file, 1234567890.5)
        eic_use.record_end(file, 12.5)
    assert eic_use.recorded_end(file) == 12.5
    pathlib.Path(file).write_text("{")
    assert eic_use.recorded_end(file) is None
    assert os.stat(file).st_mode & 0o777 == 0o600


def test_what_nobody_has_used_for_a_day_is_forgotten(holders: list[dict[str, str]], tmp_path: pathlib.Path) -> None:
    for holder in holders[:2]:
        os.utime(holder["use_file"], (0, 0))
    with eic_use.using(holders[1]["use_file"]):
        os.utime(holders[1]["use_file"], (0, 0))
        eic_use.sweep(str(tmp_path))
    assert [os.path.exists(holder["use_file"]) for holder in holders] == [False, True, True]
    eic_use.sweep(str(tmp_path / "nothing"))
