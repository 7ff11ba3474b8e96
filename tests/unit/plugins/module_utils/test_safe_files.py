# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file operations that everything else stands on."""
from __future__ import annotations

import errno
import os
import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import safe_files


@pytest.fixture(name="directory")
def fixture_directory(tmp_path: pathlib.Path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(name="without_exchange")
def fixture_without_exchange(monkeypatch):
    def unsupported(*arguments):
        raise safe_files.NotSupported("no renameat2")

    monkeypatch.setattr(safe_files, "_renameat2", unsupported)


def test_exchange_swaps_whatever_the_names_are(directory, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_bytes(b"1")
    (tmp_path / "two").symlink_to("/etc")
    safe_files.exchange(directory, "one", directory, "two")
    assert os.readlink(tmp_path / "one") == "/etc"
    assert (tmp_path / "two" / "file").read_bytes() == b"1"


def test_exchange_works_by_the_bare_system_call(directory, tmp_path, monkeypatch):
    real = safe_files._c_function
    monkeypatch.setattr(safe_files, "_c_function", lambda name: None if name == "renameat2" else real(name))
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    safe_files.exchange(directory, "one", directory, "two")
    assert (tmp_path / "one").read_bytes() == b"2"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM])
def test_what_a_file_system_cannot_is_told_apart_from_a_failure(directory, monkeypatch, number):
    class Function:
        def __call__(self, *arguments):
            safe_files.ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(safe_files, "_c_function", lambda name: Function())
    with pytest.raises(safe_files.NotSupported):
        safe_files.exchange(directory, "one", directory, "two")


def test_exchange_with_nothing_is_an_error(directory, tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(FileNotFoundError):
        safe_files.exchange(directory, "one", directory, "two")


@pytest.mark.parametrize("kind", ["with", "without_exchange"])
def test_rename_to_absent_never_replaces(request, directory, tmp_path, kind):
    if kind != "with":
        request.getfixturevalue(kind)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with pytest.raises(FileExistsError):
        safe_files.rename_to_absent(directory, "one", directory, "two")
    safe_files.rename_to_absent(directory, "one", directory, "three")
    assert sorted(os.listdir(tmp_path)) == ["three", "two"]


def test_a_written_file_is_there_whole_or_not_at_all(directory, tmp_path, monkeypatch):
    safe_files.write_file(directory, "f", b"old")

    def full(file_fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(safe_files, "write_all", full)
        with pytest.raises(OSError):
            safe_files.write_file(directory, "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    safe_files.write_file(directory, "f", b"new")
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"new"


def test_remove_tree_takes_links_away_and_not_what_they_name(directory, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_bytes(b"x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "tree" / "pipe")
    (tmp_path / "link").symlink_to(victim)
    for name in ("tree", "link", "nothing"):
        safe_files.remove_tree(directory, name)
    assert (victim / "file").exists() and os.listdir(tmp_path) == ["victim"]


def test_remove_tree_copes_with_any_depth(directory, tmp_path):
    (tmp_path / "tree").mkdir()
    current = os.open(tmp_path / "tree", os.O_RDONLY)
    for _index in range(3000):
        os.mkdir("d", dir_fd=current)
        inner = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(current)
    safe_files.remove_tree(directory, "tree")
    assert os.listdir(tmp_path) == []


def test_a_link_is_not_opened_as_a_directory(directory, tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(OSError):
        safe_files.open_subdirectory(directory, "link")
    with pytest.raises(OSError):
        safe_files.make_subdirectory(directory, "link")


def test_sync_works_with_and_without_the_c_library(directory, monkeypatch):
    safe_files.sync_file_system(directory)
    monkeypatch.setattr(safe_files, "_c_function", lambda name: None)
    safe_files.sync_file_system(directory)
