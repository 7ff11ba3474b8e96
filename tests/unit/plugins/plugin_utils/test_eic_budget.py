# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tunnel budget with real processes: never more than the limit, whatever dies, first come first served."""
from __future__ import annotations

import multiprocessing
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_budget

FORK = multiprocessing.get_context("fork")
Process = FORK.Process


def nothing_is_idle(_holders: list[eic_budget.Holder], _wanted: int) -> None:
    """Give up nothing."""


def _wait_for(path: pathlib.Path) -> None:
    for _attempt in range(500):
        if path.exists():
            return
        time.sleep(0.01)
    pytest.fail(f"{path} does not appear")


def _start(function: t.Callable[..., None], *arguments: object) -> t.Any:
    process = Process(target=function, args=arguments)
    process.start()
    return process


def _one_after_another(directory: str, log: str, limit: int) -> None:
    with eic_budget.claimed(directory, limit, 30, {}, nothing_is_idle):
        with open(log, "a", encoding="ascii") as stream:
            stream.write("+")
        time.sleep(0.03)
        with open(log, "a", encoding="ascii") as stream:
            stream.write("-")


def test_never_more_than_the_limit_and_everyone_gets_one(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    workers = [_start(_one_after_another, str(tmp_path / "endpoint"), str(log), 3) for _number in range(15)]
    for worker in workers:
        worker.join(60)
    text = log.read_text()
    most = max(text[:end].count("+") - text[:end].count("-") for end in range(len(text)))
    assert text.count("+") == text.count("-") == 15
    assert most <= 3
    assert os.listdir(tmp_path / "endpoint" / "queue") == []
    assert len(eic_budget.holders(str(tmp_path / "endpoint"))) == 0


def test_waiting_is_bounded(tmp_path: pathlib.Path) -> None:
    with eic_budget.claimed(str(tmp_path), 1, 0, {"who": "first"}, nothing_is_idle):
        started = time.monotonic()
        with pytest.raises(eic_budget.BudgetTimeout), eic_budget.claimed(str(tmp_path), 1, 0.3, {}, nothing_is_idle):
            pytest.fail("two holders of one slot")
        assert time.monotonic() - started < 2
        assert [holder["who"] for holder in eic_budget.holders(str(tmp_path))] == ["first"]
    assert os.listdir(tmp_path / "queue") == []


def _tunnel(claim: eic_budget.Claim, ready: str) -> None:
    descriptor = eic_budget.hold(claim)
    pathlib.Path(ready).touch()
    time.sleep(60)
    os.close(descriptor)


def test_the_tunnel_keeps_the_slot_beyond_its_worker_and_frees_it_when_it_is_killed(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "endpoint")
    with eic_budget.claimed(directory, 1, 0, {}, nothing_is_idle) as claim:
        tunnel = _start(_tunnel, claim, str(tmp_path / "ready"))
        _wait_for(tmp_path / "ready")
    with pytest.raises(eic_budget.BudgetTimeout), eic_budget.claimed(directory, 1, 0.1, {}, nothing_is_idle):
        pytest.fail("the tunnel's slot was given away")
    tunnel.kill()
    tunnel.join(10)
    with eic_budget.claimed(directory, 1, 5, {}, nothing_is_idle):
        pass


def _claim_and_sleep(directory: str, ready: str) -> None:
    with eic_budget.claimed(directory, 1, 5, {}, nothing_is_idle):
        pathlib.Path(ready).touch()
        time.sleep(60)


def test_a_killed_worker_frees_its_claim_and_its_tunnel_comes_too_late(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "endpoint")
    worker = _start(_claim_and_sleep, directory, str(tmp_path / "ready"))
    _wait_for(tmp_path / "ready")
    (old,) = eic_budget.holders(directory)
    worker.kill()
    worker.join(10)
    with eic_budget.claimed(directory, 1, 5, {}, nothing_is_idle) as claim:
        with pytest.raises(eic_budget.SlotLost):
            eic_budget.hold(eic_budget.Claim(claim.path, old["nonce"]))
        os.close(eic_budget.hold(claim))
    with pytest.raises(eic_budget.SlotLost):
        eic_budget.hold(eic_budget.Claim(str(tmp_path / "nothing"), "x"))


def _arrive(directory: str, log: str, name: str) -> None:
    with eic_budget.claimed(directory, 1, 30, {}, nothing_is_idle), open(log, "a", encoding="ascii") as stream:
        stream.write(name)


def _queue_length(directory: str, length: int) -> None:
    for _attempt in range(500):
        if len([name for name in os.listdir(os.path.join(directory, "queue")) if not name.startswith(".")]) == length:
            return
        time.sleep(0.01)
    pytest.fail("the queue does not grow")


def test_first_come_first_served_and_the_dead_are_passed_over(tmp_path: pathlib.Path) -> None:
    directory, log = str(tmp_path / "endpoint"), str(tmp_path / "log")
    # a process of its own, because forked ones would inherit the slot
    holder = _start(_claim_and_sleep, directory, str(tmp_path / "ready"))
    _wait_for(tmp_path / "ready")
    workers = []
    for number, name in enumerate("abcdef", 1):
        workers.append(_start(_arrive, directory, log, name))
        _queue_length(directory, number)
    for killed in (workers[0], workers[2], holder):
        killed.kill()
        killed.join(10)
    for worker in workers:
        worker.join(30)
    assert pathlib.Path(log).read_text() == "bdef"


def test_the_first_of_the_queue_asks_idle_ones_to_end(tmp_path: pathlib.Path) -> None:
    asked: list[tuple[list[str], int]] = []

    def stop_idle(holders: list[eic_budget.Holder], wanted: int) -> None:
        asked.append(([holder["who"] for holder in holders], wanted))
        first.__exit__(None, None, None)

    first = eic_budget.claimed(str(tmp_path), 2, 0, {"who": "first"}, nothing_is_idle)
    first.__enter__()
    with eic_budget.claimed(str(tmp_path), 2, 0, {"who": "second"}, nothing_is_idle):
        with eic_budget.claimed(str(tmp_path), 2, 5, {"who": "third"}, stop_idle):
            assert asked == [(["first", "second"], 1)]
