# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the power fail at every point of a run, in every way that the disk model knows, and see what the next runs make of it."""
from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import typing
from unittest import mock

import disk_model
import promise
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request, safe_files
from recorder import Recorder, Recording
from scenarios import Scenario, Workspace

_INITIAL = "initial"


@dataclasses.dataclass
class Tally:
    """``crashes`` of the model lead to ``states`` that differ, of which ``tried`` were tried."""

    operations: int = 0
    crashes: int = 0
    states: int = 0
    tried: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        self.operations += other.operations
        self.crashes += other.crashes
        self.states += other.states
        self.tried += other.tried
        self.failures += other.failures


class PowerLoss:
    """One scenario: its run, or the recovery after a run that was killed after ``killed_after`` calls.

    What is recorded may be recorded on another file system than the one that the states are rebuilt on, at the same path.
    """

    def __init__(self, workspace: Workspace, scenario: Scenario, may_be_missing: bool, killed_after: int | None = None) -> None:
        self._workspace = workspace
        self._scenario = scenario
        self._may_be_missing = may_be_missing
        workspace.prepare(scenario)
        workspace.save(_INITIAL)
        self._expected = promise.references(workspace, scenario, _INITIAL)
        workspace.restore(_INITIAL)
        request = workspace.apply_request(scenario.wanted)
        recorder = Recorder(workspace.config)
        self.recording: Recording = recorder.record(lambda: plugin_request.handle(request), killed_after)
        self._first = 0
        if killed_after is not None:
            self._first = len(recorder.operations)
            recovery = workspace.request("apply", plugins=[])
            self.recording = recorder.record(lambda: plugin_request.handle(recovery))
        self._check_recording()
        workspace.forget(_INITIAL)
        workspace.clear()

    def _check_recording(self) -> None:
        """The model must end where the file system did: nothing was overlooked, nothing misunderstood."""
        real = promise.observe(self._workspace.config)
        self._workspace.clear()
        self.recording.final().write_to(self._workspace.config)
        modelled = promise.observe(self._workspace.config)
        if modelled != real:
            raise RuntimeError(f"the recorded calls do not lead to what they led to: {promise.nearest_difference(modelled, [real])}")

    def run(self, sample: int | None, choice: random.Random) -> Tally:
        """Try ``sample`` of the states, chosen among them all; None: each of them."""
        tally = Tally(operations=len(self.recording.operations) - self._first)
        states: dict[typing.Any, disk_model.Crash] = {}
        durable = disk_model.durable_from(self.recording.operations)
        for crash in disk_model.crashes(self.recording.operations, self._first):
            tally.crashes += 1
            disk = disk_model.after(self.recording.initial, self.recording.operations, crash, durable)
            states.setdefault(frozenset(disk.tree().items()), crash)
        tally.states = len(states)
        chosen = list(states.values())
        if sample is not None and sample < len(chosen):
            chosen = choice.sample(chosen, sample)
        with without_waiting_for_disks():
            for crash in chosen:
                tally.tried += 1
                self._workspace.clear()
                disk_model.after(self.recording.initial, self.recording.operations, crash, durable).write_to(self._workspace.config)
                try:
                    promise.check_instant(self._workspace, self._scenario, self._expected, self._may_be_missing)
                    promise.check_recovery(self._workspace, self._scenario, self._expected)
                except Exception as error:
                    tally.failures.append(f"{self._describe(crash)}: {type(error).__name__}: {error}")
        self._workspace.clear()
        return tally

    def _describe(self, crash: disk_model.Crash) -> str:
        operations = self.recording.operations
        last = operations[crash.calls - 1] if crash.calls else None
        lost = [f"{operations[index].kind} {operations[index].name}->{operations[index].other_name}" for index in sorted(crash.lost)]
        where = f"after call {crash.calls} ({last.kind} {last.name}->{last.other_name})" if last else "at once"
        return f"power lost {where}, lost: {', '.join(lost[:8]) or 'nothing'}{' ...' if len(lost) > 8 else ''}, part {crash.part:g}"


@contextlib.contextmanager
def without_waiting_for_disks() -> typing.Iterator[None]:
    """The states are rebuilt on a file system that keeps its power: waiting for its disk would show nothing."""
    with mock.patch.object(os, "fsync", lambda descriptor: None), mock.patch.object(safe_files, "sync_file_system", lambda descriptor: None):
        yield
