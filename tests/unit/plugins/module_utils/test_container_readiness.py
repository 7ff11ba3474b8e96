# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way a container can look after a restart, and what we make of it."""
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.container_readiness import ContainerReadiness, wait_until_ready
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError

BEFORE = "2026-05-01T10:00:00.000000001Z"
AFTER = "2026-05-01T11:00:00.000000001Z"


def state(started: str = AFTER, running: bool = True, **more: Any) -> dict[str, Any]:
    return {"StartedAt": started, "Running": running, "Restarting": False, "ExitCode": 0, "OOMKilled": False, **more}


def health(status: str) -> dict[str, Any]:
    return {"Health": {"Status": status}}


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(states: list[dict[str, Any]], settle: float = 2, timeout: float = 10) -> tuple[float, ContainerReadiness]:
    """Show one state after the other (the last one for ever), half a second apart."""
    clock = Clock()
    readiness = ContainerReadiness("ws-1", BEFORE, settle)
    seen = iter(states)
    last: dict[str, Any] = {}

    def look() -> dict[str, Any]:
        nonlocal last
        last = next(seen, last)
        return last

    return wait_until_ready(look, readiness, timeout, clock=clock, sleep=clock.sleep), readiness


@pytest.mark.parametrize(
    ("states", "settle", "waited"),
    [
        pytest.param([state()], 2, 2.0, id="no health check: up for settle seconds"),
        pytest.param([state()], 0, 0.0, id="no settling asked"),
        pytest.param([state(BEFORE), state(BEFORE), state()], 2, 3.0, id="the old start does not count"),
        pytest.param([state(**health("starting")), state(**health("healthy"))], 60, 0.5, id="healthy needs no settling"),
        pytest.param([state(**health("unhealthy")), state(**health("healthy"))], 2, 0.5, id="unhealthy may recover"),
        pytest.param([state(**health("none"))], 2, 2.0, id="health check switched off"),
        pytest.param([state(Health=None)], 2, 2.0, id="no health at all"),
        pytest.param([state(Restarting=True, ExitCode=1), state("later")], 2, 2.5, id="its policy brought it up"),
        pytest.param([state(), state(), state("later")], 2, 3.0, id="another start begins the settling anew"),
        pytest.param([state(Paused=True), state()], 2, 2.5, id="paused is not up"),
        pytest.param([state(), *[state(running=False)] * 9, state("later")], 2, 7.0, id="somebody else restarts it, too"),
        pytest.param([state(f"start {number}", RestartCount=0) for number in range(9)], 2, 6.0, id="many others restart it, one after the other"),
        pytest.param([state(BEFORE, running=False), state()], 2, 2.5, id="it was not running before"),
    ],
)
def test_ready(states: list[dict[str, Any]], settle: float, waited: float) -> None:
    seconds, readiness = wait(states, settle)
    assert seconds == waited
    assert readiness.started_at == states[-1]["StartedAt"]


@pytest.mark.parametrize(
    ("states", "parts"),
    [
        pytest.param([state(running=False, ExitCode=3)], ["exit code 3", "docker logs ws-1", "restart_pending"], id="exited"),
        pytest.param([state(), state(running=False, ExitCode=137, OOMKilled=True)], ["137", "lack of memory"], id="out of memory"),
        pytest.param([state(f"start {number}") for number in range(9)], ["started 4 times", "docker logs ws-1"], id="crash loop"),
        pytest.param([state(f"start {number}", RestartCount=number) for number in range(9)], ["started 4 times"], id="crash loop by the restart policy"),
        pytest.param([state(Restarting=True, ExitCode=7)], ["10 s", "exit code 7", "restart policy"], id="policy waits for ever"),
        pytest.param([state(BEFORE)], ["10 s", "not started again", "wait_timeout"], id="never started"),
        pytest.param([state(**health("unhealthy"))], ["10 s", "says unhealthy", "restart_pending"], id="stays unhealthy"),
        pytest.param([state(**health("starting"))], ["says starting"], id="never healthy"),
        pytest.param([state(Paused=True)], ["is paused"], id="stays paused"),
    ],
)
def test_not_ready_is_one_sentence(states: list[dict[str, Any]], parts: list[str]) -> None:
    with pytest.raises(WorkspaceError) as caught:
        wait(states)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_nobody_asks_for_a_restart_without_end() -> None:
    with pytest.raises(WorkspaceError, match="started 31 times in a row"):
        wait([state(f"start {number}", RestartCount=0) for number in range(40)], timeout=60)


def test_looks_once_even_without_any_time() -> None:
    seconds, _readiness = wait([state(**health("healthy"))], timeout=0)
    assert seconds == 0
