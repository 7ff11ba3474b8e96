# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the power fail: a sample of what ``tests/reliability/run --long`` does, and the disk model's own tests."""
from __future__ import annotations

import os

import campaign
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import safe_files
from disk_model import CREATE, MAKE_DIRECTORY, OWNER, RENAME, SYNC, SYNC_ALL, UNLINK, WRITE, Crash, Disk, Node, Operation, after, crashes, durable_from
from scenarios import SCENARIOS

_CASES = [*[("ext4", scenario) for scenario in SCENARIOS], ("overlay", "upgrade"), ("bindfs", "upgrade")]


@pytest.mark.parametrize("file_system, scenario", _CASES)
def test_what_a_power_failure_leaves_is_brought_to_a_whole_version(tmp_path, reliability_seed, file_system, scenario):
    tally = campaign.lose_power(file_system, scenario, tmp_path, 25, 4, reliability_seed)
    assert tally.tried > 25
    assert tally.failures == []


def test_a_product_that_does_not_wait_for_the_disk_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(safe_files, "sync_file_system", lambda descriptor: None)
    assert campaign.lose_power("ext4", "upgrade", tmp_path, 60, 0, 1).failures


# A file that is written under another name and renamed, in directory 0; node 2 lies in a new directory 1.
_WRITTEN = [
    Operation(CREATE, 3, 0, "file.new", number=0o600),
    Operation(WRITE, 3, data=b"content"),
    Operation(SYNC, 3),
    Operation(RENAME, 3, 0, "file.new", -1, 0, "file"),
    Operation(SYNC, 0),
]
_IN_NEW_DIRECTORY = [
    Operation(MAKE_DIRECTORY, 1, 0, "directory", number=0o700),
    Operation(CREATE, 2, 1, "file", number=0o600),
    Operation(OWNER, 2, owner=(1000, 1000)),
    Operation(SYNC, 1),
]


def trees(operations: list[Operation]) -> list[dict]:
    disk = Disk({0: Node(0o755, (0, 0), names={})})
    durable = durable_from(operations)
    return [after(disk, operations, crash, durable).tree() for crash in crashes(operations)]


def test_a_file_that_was_synced_and_renamed_is_never_seen_torn():
    seen = trees(_WRITTEN)
    assert {tree["file"][2] for tree in seen if "file" in tree} == {b"content"}
    assert {tree["file.new"][2] for tree in seen if "file.new" in tree} >= {b"", b"con", b"content"}


def test_without_its_sync_it_is():
    assert {tree["file"][2] for tree in trees([_WRITTEN[0], _WRITTEN[1], *_WRITTEN[3:]]) if "file" in tree} == {b"", b"con", b"content"}


def test_a_synced_directory_may_still_lose_its_own_name():
    disk = Disk({0: Node(0o755, (0, 0), names={})})
    durable = durable_from(_IN_NEW_DIRECTORY)
    assert set(after(disk, _IN_NEW_DIRECTORY, Crash(4, frozenset([0])), durable).tree()) == {""}
    assert Crash(4, frozenset([0])) in list(crashes(_IN_NEW_DIRECTORY))
    assert durable[1] == 4, "its file's name is on the disk"
    assert durable[2] > 4, "its file's owner is not"


def test_nothing_is_lost_after_everything_was_synced():
    operations = [*_IN_NEW_DIRECTORY, Operation(SYNC_ALL)]
    assert [crash for crash in crashes(operations) if crash.calls == 5] == [Crash(5, frozenset())]


def test_a_durable_rename_brings_the_name_that_it_renames():
    operations = [
        Operation(MAKE_DIRECTORY, 1, 0, "directory", number=0o700),
        Operation(CREATE, 2, 1, "temporary", number=0o600),
        Operation(RENAME, 2, 1, "temporary", -1, 0, "file"),
        Operation(SYNC, 0),
        Operation(UNLINK, 2, 0, "file"),
    ]
    assert durable_from(operations) == [4, 4, 4, 6, 6]
