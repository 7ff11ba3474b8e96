# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One writer at a time, and who waits is told for whom."""
from __future__ import annotations

import os
import pathlib
import time

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import BusyError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.workspace_lock import writer_lock


@pytest.fixture(name="directory")
def fixture_directory(tmp_path: pathlib.Path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_who_waits_too_long_is_told_who_holds_the_lock(directory):
    with writer_lock(directory, {"id": "41", "play": "nightly"}, 0, "/configs"):
        started = time.monotonic()
        with pytest.raises(BusyError) as caught, writer_lock(directory, {}, 0.3, "/configs"):
            pass
        assert 0.25 < time.monotonic() - started < 5
    sentence = str(caught.value)
    for part in ("/configs", f"process {os.getpid()} ", "id 41", "play nightly", "lock_timeout"):
        assert part in sentence


def test_the_lock_is_free_again_afterwards(directory):
    with writer_lock(directory, {}, 0, "/configs"):
        pass
    with pytest.raises(ZeroDivisionError), writer_lock(directory, {}, 0, "/configs"):
        raise ZeroDivisionError
    with writer_lock(directory, {}, 0, "/configs"):
        pass


def test_the_lock_of_a_killed_process_is_free(directory):
    child = os.fork()
    if child == 0:
        with writer_lock(directory, {}, 0, "/configs"):
            os._exit(0)
    os.waitpid(child, 0)
    with writer_lock(directory, {}, 0, "/configs"):
        pass


def test_a_lock_file_that_says_nothing_still_gives_a_sentence(directory, tmp_path):
    with writer_lock(directory, {}, 0, "/configs"):
        (tmp_path / "lock").write_bytes(b"[")
        with pytest.raises(BusyError, match="has not said who"), writer_lock(directory, {}, 0, "/configs"):
            pass


def test_a_link_in_the_locks_place_is_not_followed(directory, tmp_path):
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "lock").symlink_to("victim")
    with pytest.raises(OSError), writer_lock(directory, {}, 0, "/configs"):
        pass
    assert (tmp_path / "victim").read_bytes() == b"untouched"
