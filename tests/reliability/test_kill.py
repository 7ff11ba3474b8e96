# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs and recoveries at their system calls: a sample of what ``tests/reliability/run --long`` does."""
from __future__ import annotations

import campaign
import filesystems
import killing
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_slot
from scenarios import SCENARIOS


@pytest.mark.parametrize("file_system", filesystems.NAMES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_run_leaves_whole_versions_and_the_next_one_finishes(tmp_path, reliability_seed, scenario, file_system):
    tally = campaign.kill(file_system, scenario, tmp_path, (5, 1, 1), reliability_seed)
    assert tally.run_points == 5 and all(tally.recovery_points) and tally.states > 1
    assert tally.failures == []


@pytest.mark.parametrize("scenario", ["upgrade", "uninstall", "rollback"])
def test_the_runtime_may_start_between_a_death_and_the_next_run(tmp_path, reliability_seed, scenario):
    tally = campaign.kill_and_start(scenario, tmp_path, 12, reliability_seed)
    assert tally.run_points == 12
    assert tally.failures == []


def test_every_call_is_found_that_changes_something(tmp_path):
    """The points come from the kernel: a run of a known action has exactly its calls, whatever Python does beside them."""
    directory = tmp_path / "directory"

    def action() -> None:
        directory.mkdir()
        (directory / "file").write_bytes(b"content")
        (directory / "file").rename(directory / "other")
        (directory / "link").symlink_to("other")

    with killing.TracedProcess(action) as process:
        names = []
        while (call := process.next_call()) is not None:
            names.append(call.name)
    assert [name for name in names if name != "ioctl"] == ["mkdir", "openat", "write", "rename", "symlink"]


@pytest.mark.parametrize("where, content", [(killing.BEFORE, ""), (killing.TORN, "cont"), (killing.AFTER, "contents")])
def test_a_call_is_carried_out_whole_half_or_not_at_all(tmp_path, where, content):
    file = tmp_path / "file"
    file.touch()

    with killing.TracedProcess(lambda: file.write_text("contents")) as process:
        while process.next_call().name != "write":
            pass
        if where == killing.TORN:
            process.shorten(4)
        if where != killing.BEFORE:
            process.finish_call()
        process.kill()
    assert file.read_text() == content


def test_a_product_without_its_journal_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(plugin_slot.Slot, "_write_journal", lambda *arguments: None)
    tally = campaign.kill("ext4", "upgrade", tmp_path, (60, 0, 0), 1)
    assert any("mixture" in failure for failure in tally.failures)
