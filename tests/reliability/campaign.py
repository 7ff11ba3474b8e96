# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two campaigns, as the tests run a sample of them and ``run`` the whole."""
from __future__ import annotations

import pathlib
import random

import filesystems
import killing
import power_loss
from scenarios import SCENARIOS, Workspace


def kill(file_system: str, scenario: str, directory: pathlib.Path, samples: killing.Samples, seed: int) -> killing.Tally:
    """Kill one scenario's run, its recoveries and the recoveries after them on one file system."""
    with filesystems.mounted(file_system, directory) as root:
        killer = killing.Killer(Workspace(root, directory / "sent"), SCENARIOS[scenario], file_system in filesystems.WITHOUT_EXCHANGE)
        try:
            return killer.run(samples, random.Random(seed))
        finally:
            killer.close()


def kill_and_start(scenario: str, directory: pathlib.Path, sample: int, seed: int) -> killing.Tally:
    """Kill one scenario's run at ``sample`` of its points, and let the runtime start before the next run."""
    with filesystems.mounted("ext4", directory) as root:
        killer = killing.Killer(Workspace(root, directory / "sent"), SCENARIOS[scenario], may_be_missing=False)
        try:
            return killer.run_with_starts(sample, random.Random(seed))
        finally:
            killer.close()


def lose_power(file_system: str, scenario: str, directory: pathlib.Path, sample: int | None, recovery_sample: int | None, seed: int) -> power_loss.Tally:
    """Let the power fail in one scenario's run, recorded on one file system, and in the recoveries of runs that were killed.

    ``sample`` of the run's states and ``recovery_sample`` of each recovery's are tried; None: all. With a sample, only some of the recoveries.
    """
    choice = random.Random(seed)
    may_be_missing = file_system in filesystems.WITHOUT_EXCHANGE

    def recorded(killed_after: int | None) -> power_loss.PowerLoss:
        with filesystems.mounted(file_system, directory / "recorded") as root:
            found = power_loss.PowerLoss(Workspace(root, directory / "sent"), SCENARIOS[scenario], may_be_missing, killed_after)
        # The states are rebuilt at the same path, on the file system that lies below.
        root.mkdir(parents=True, exist_ok=True)
        return found

    run = recorded(None)
    tally = run.run(sample, choice)
    if recovery_sample != 0:
        calls = range(1, len(run.recording.operations))
        for killed_after in calls if sample is None else sorted(choice.sample(calls, 2)):
            tally.add(recorded(killed_after).run(recovery_sample, choice))
    return tally
