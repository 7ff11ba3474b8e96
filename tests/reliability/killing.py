# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a run at each of its state-changing system calls, its recovery at each of its own, and the recovery that comes next."""
from __future__ import annotations

import dataclasses
import io
import os
import random
import typing

import promise
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request
from scenarios import Scenario, Workspace
from traced_process import Call, TracedProcess

BEFORE, AFTER, TORN = "before", "after", "in the middle of"
_INITIAL = "initial"
# What a killed run has left, and what a killed recovery of that has left.
_DEATHS = ("died", "died-again")


# How many points of a run, of each recovery of it, and of each recovery after a killed one are tried; None: all.
Samples = typing.Tuple[typing.Optional[int], typing.Optional[int], typing.Optional[int]]


class Point(typing.NamedTuple):
    """Where to kill: at the call of that index (from 0), before it, after it, or (a write) when half of it is done."""

    index: int
    where: str


@dataclasses.dataclass
class Tally:
    """How many points were tried, how many different states they led to, and what was not survived.

    ``recovery_points`` are in the recoveries of runs that were killed, and in the recoveries after killed recoveries.
    """

    run_points: int = 0
    recovery_points: list[int] = dataclasses.field(default_factory=lambda: [0] * len(_DEATHS))
    states: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)


class Killer:
    """One scenario on one file system."""

    def __init__(self, workspace: Workspace, scenario: Scenario, may_be_missing: bool) -> None:
        self._workspace = workspace
        self._scenario = scenario
        self._may_be_missing = may_be_missing
        self._recovered_from: list[set[typing.Any]] = [set() for _death in _DEATHS]
        self._checked: set[typing.Any] = set()
        self.tally = Tally()
        workspace.prepare(scenario)
        workspace.save(_INITIAL)
        self._expected = promise.references(workspace, scenario, _INITIAL)
        workspace.restore(_INITIAL)
        self._request = workspace.apply_request(scenario.wanted)
        self._recovery = workspace.request("apply", plugins=[])

    def close(self) -> None:
        """Remove what was saved."""
        for label in (_INITIAL, *_DEATHS):
            self._workspace.forget(label)
        self._workspace.clear()

    def run(self, samples: Samples, choice: random.Random) -> Tally:
        """Try as many of the run's points, of its recoveries' and of the recoveries' after them as ``samples`` says; None: all of them."""
        for point in chosen(self._points(_INITIAL, self._request), samples[0], choice):
            self.tally.run_points += 1
            self._workspace.restore(_INITIAL)
            call = kill_at(self._request, point)
            where = f"killed {point.where} call {point.index} ({call})"
            self._check(where, lambda where=where: self._kill_recoveries(where, samples[1:], choice))
        return self.tally

    def run_with_starts(self, sample: int, choice: random.Random) -> Tally:
        """After each death the runtime starts before anybody recovers, and places what it finds; and once more at the end."""
        self._workspace.restore(_INITIAL)
        self._workspace.apply(self._scenario.wanted)
        self._workspace.start_runtime()
        expected = promise.placed(promise.observe(self._workspace.config))
        for point in chosen(self._points(_INITIAL, self._request), sample, choice):
            self.tally.run_points += 1
            self._workspace.restore(_INITIAL)
            call = kill_at(self._request, point)
            self._workspace.start_runtime()
            self._workspace.apply({})
            kept = [entry for plugin in self._workspace.apply(self._scenario.wanted)["plugins"].values() for entry in plugin["kept"]]
            self._workspace.start_runtime()
            found = promise.placed(promise.observe(self._workspace.config))
            if kept or found != expected:
                difference = promise.nearest_difference(found, [expected])
                self.tally.failures.append(f"killed {point.where} call {point.index} ({call}): kept {kept}, differs in {difference}")
        return self.tally

    def _kill_recoveries(self, where: str, samples: typing.Sequence[int | None], choice: random.Random, depth: int = 0) -> None:
        """The workspace is as a death left it: kill the recovery at its points. A state that was seen after as few deaths shows nothing new."""
        identity = promise.identity(promise.observe(self._workspace.config))
        if depth == len(_DEATHS) or any(identity in seen for seen in self._recovered_from[:depth + 1]):
            return
        self._recovered_from[depth].add(identity)
        self._workspace.forget(_DEATHS[depth])
        self._workspace.save(_DEATHS[depth])
        for point in chosen(self._points(_DEATHS[depth], self._recovery), samples[depth], choice):
            self.tally.recovery_points[depth] += 1
            self._workspace.restore(_DEATHS[depth])
            call = kill_at(self._recovery, point)
            again = f"{where}, {'the next recovery' if depth else 'its recovery'} {point.where} call {point.index} ({call})"
            self._check(again, lambda again=again: self._kill_recoveries(again, samples, choice, depth + 1))
        self._workspace.restore(_DEATHS[depth])

    def _check(self, where: str, then: typing.Callable[[], None] = lambda: None) -> None:
        """Check the state that a kill has left; one that was checked before is what it was. ``then``: what else is to be done with it."""
        try:
            identity = promise.identity(promise.observe(self._workspace.config))
            then()
            if identity in self._checked:
                return
            self._checked.add(identity)
            self.tally.states += 1
            promise.check_instant(self._workspace, self._scenario, self._expected, self._may_be_missing)
            promise.check_recovery(self._workspace, self._scenario, self._expected)
        except Exception as error:
            self.tally.failures.append(f"{where}: {type(error).__name__}: {error}")

    def _points(self, label: str, request: dict[str, typing.Any]) -> list[Point]:
        self._workspace.restore(label)
        return points_of(calls_of(request))


def calls_of(request: dict[str, typing.Any], attached: bytes = b"") -> list[Call]:
    """Let a request get through, with what is ``attached`` to it; its calls that may change something."""
    calls = []
    with TracedProcess(lambda: _handle(request, attached)) as process:
        while True:
            call = process.next_call()
            if call is None:
                break
            calls.append(call)
        answer = process.answer
    if answer is None or "error" in answer:
        raise RuntimeError(f"the run that was to be counted failed: {answer}")
    return calls


def points_of(calls: list[Call]) -> list[Point]:
    """Where to kill a run that makes these calls."""
    points = []
    for index, call in enumerate(calls):
        points += [Point(index, BEFORE), Point(index, AFTER)]
        if call.name in ("write", "pwrite64") and call.arguments[2] > 1:
            points.append(Point(index, TORN))
    return points


def chosen(points: list[Point], sample: int | None, choice: random.Random) -> list[Point]:
    """``sample`` of the points, in their order; all for None."""
    if sample is None or sample >= len(points):
        return points
    return sorted(choice.sample(points, sample))


def kill_at(request: dict[str, typing.Any], point: Point, attached: bytes = b"") -> str:
    """Carry out the request in a process that dies at this point. Returns a description of the call."""
    with TracedProcess(lambda: _handle(request, attached)) as process:
        for _index in range(point.index + 1):
            call = process.next_call()
            if call is None:
                raise RuntimeError(f"the process ended before call {point.index}: {process.answer}")
            description = call
        if point.where == TORN:
            process.shorten(description.arguments[2] // 2)
        if point.where != BEFORE:
            process.finish_call()
        text = _describe(process, description)
        process.kill()
    return text


def _handle(request: dict[str, typing.Any], attached: bytes) -> dict[str, typing.Any]:
    return plugin_request.handle(request, io.BytesIO(attached) if attached else None)


def _describe(process: TracedProcess, call: Call) -> str:
    """The call with the names that it is about."""
    arguments = call.arguments
    if call.name in ("renameat", "renameat2"):
        return f"{call.name} {process.text(arguments[1])} -> {process.text(arguments[3])}"
    if call.name.endswith("at"):
        return f"{call.name} {process.text(arguments[1])}"
    try:
        return f"{call.name} {os.readlink(f'/proc/{process.pid}/fd/{arguments[0]}')}"
    except OSError:
        return call.name
