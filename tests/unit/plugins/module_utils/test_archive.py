# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle becomes exactly its tree, or is refused with the member's name."""
from __future__ import annotations

import errno
import gzip
import io
import os
import pathlib
import tarfile

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import archive, plugin_tree, safe_files
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from plugin_samples import OWNER, V1, contents, members, pack, write_tree


def unpack(packed: bytes, directory: pathlib.Path, **options) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        archive.unpack(io.BytesIO(packed), descriptor, owner=tuple(OWNER), label="the bundle of plugin 'ecc'", **options)
    finally:
        os.close(descriptor)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b"x"):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    made.size = len(content) if kind == tarfile.REGTYPE else 0
    return made, content if kind == tarfile.REGTYPE else None


def test_a_bundle_becomes_the_tree_it_was_made_of(tmp_path):
    unpack(pack(members(V1)), tmp_path / "got")
    assert contents(tmp_path / "got") == contents(write_tree(tmp_path / "want", V1))


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        unpack(pack(members(V1)), tmp_path / "got")
    finally:
        os.umask(before)
    assert contents(tmp_path / "got") == contents(write_tree(tmp_path / "want", V1))


def test_odd_modes_are_normalised(tmp_path):
    unpack(pack(members({"a": (b"", 0o4777), "b": (b"", 0o066)})), tmp_path / "got")
    assert {path: what[0][-4:] for path, what in contents(tmp_path / "got").items()} == {".": "0755", "a": "0755", "b": "0644"}


REFUSED = {
    "absolute": [member("/etc/cron.d/x")],
    "parent": [member("../x")],
    "parent inside": [member("a", tarfile.DIRTYPE), member("a/../../x")],
    "dot": [member("./x")],
    "only dot": [member(".", tarfile.DIRTYPE)],
    "double slash": [member("a", tarfile.DIRTYPE), member("a//x")],
    "newline": [member("a\nb")],
    "control character": [member("a\x1b[31m")],
    "not utf-8": [member("a\udcff")],
    "twice": [member("a"), member("a")],
    "directory twice": [member("a", tarfile.DIRTYPE), member("a", tarfile.DIRTYPE)],
    "symbolic link": [member("a", tarfile.SYMTYPE, "/etc/passwd")],
    "hard link": [member("a"), member("b", tarfile.LNKTYPE, "a")],
    "through a link": [member("a", tarfile.SYMTYPE, "/tmp"), member("a/x")],
    "character device": [member("a", tarfile.CHRTYPE)],
    "block device": [member("a", tarfile.BLKTYPE)],
    "pipe": [member("a", tarfile.FIFOTYPE)],
    "contiguous": [member("a", tarfile.CONTTYPE)],
    "sparse": [member("a", tarfile.GNUTYPE_SPARSE)],
    "without its directory": [member("a/b")],
    "below a file": [member("a"), member("a/b")],
    "too deep": [member("/".join("d" * depth), tarfile.DIRTYPE) for depth in range(1, 66)],
}


@pytest.mark.parametrize("items", REFUSED.values(), ids=REFUSED)
def test_refuses(tmp_path, items):
    outside = sorted(os.listdir(tmp_path))
    with pytest.raises(WorkspaceError, match=r"^the bundle of plugin 'ecc' (is refused: its member .* |is damaged)"):
        unpack(pack(items, encoding="utf-8", errors="surrogateescape"), tmp_path / "got")
    assert sorted(os.listdir(tmp_path)) == [*outside, "got"]
    assert not [path for path in (tmp_path / "got").rglob("*") if path.is_symlink()]


def test_refuses_more_bytes_than_allowed_and_passes_exactly_as_many(tmp_path):
    packed = pack(members({"a": b"x" * 600, "b": b"y" * 400}))
    unpack(packed, tmp_path / "exact", limits=plugin_tree.Limits(max_bytes=1000))
    with pytest.raises(WorkspaceError, match=r"holds more than 999 bytes \(at b\)"):
        unpack(packed, tmp_path / "over", limits=plugin_tree.Limits(max_bytes=999))


def test_refuses_more_members_than_allowed_and_passes_exactly_as_many(tmp_path):
    packed = pack(members({str(number): b"" for number in range(20)}))
    unpack(packed, tmp_path / "exact", limits=plugin_tree.Limits(max_entries=20))
    with pytest.raises(WorkspaceError, match="holds more than 19 files"):
        unpack(packed, tmp_path / "over", limits=plugin_tree.Limits(max_entries=19))


def test_is_as_deep_as_what_is_scanned(tmp_path):
    """Otherwise check mode would promise what cannot be unpacked."""
    deepest = "/".join("d" * 64)
    unpack(pack(members({f"{deepest}/file": b"x"})), tmp_path / "exact")
    root_fd = os.open(tmp_path / "exact", os.O_RDONLY)
    try:
        assert f"{deepest}/file" in plugin_tree.scan(root_fd).entries
        (tmp_path / "exact" / deepest / "d").mkdir()
        with pytest.raises(WorkspaceError, match="nested deeper than 64 directories"):
            plugin_tree.scan(root_fd)
    finally:
        os.close(root_fd)
    with pytest.raises(WorkspaceError, match="nested deeper than 64 directories"):
        unpack(pack(members({f"{deepest}/d": None})), tmp_path / "over")


def test_a_gzip_bomb_behind_the_end_of_the_archive_is_cut_off(tmp_path):
    bomb = gzip.compress(gzip.decompress(pack(members(V1))) + b"\0" * 30_000_000)
    with pytest.raises(WorkspaceError, match="expands to more bytes"):
        unpack(bomb, tmp_path / "got", limits=plugin_tree.Limits(max_bytes=1000, max_entries=20))


def test_a_bomb_in_an_extended_header_is_cut_off(tmp_path):
    packed = pack([member("a")], format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 30_000_000})
    with pytest.raises(WorkspaceError, match="expands to more bytes"):
        unpack(packed, tmp_path / "got", limits=plugin_tree.Limits(max_bytes=1000, max_entries=20))


DAMAGES = {
    "half": lambda packed: packed[: len(packed) // 2],
    "no checksum": lambda packed: packed[:-4],
    "wrong checksum": lambda packed: packed[:-8] + b"\0" * 8,
    "empty": lambda packed: b"",
    "something else": lambda packed: b"no gzip",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_bundle_is_no_traceback(tmp_path, damage):
    packed = damage(pack(members({"a": os.urandom(50_000)})))
    with pytest.raises(WorkspaceError, match="is damaged"):
        unpack(packed, tmp_path / "got")


def test_a_member_that_claims_to_be_huge_is_refused_before_it_is_written(tmp_path):
    header = tarfile.TarInfo("a")
    header.size = 2**40
    with pytest.raises(WorkspaceError, match="holds more than"):
        unpack(gzip.compress(header.tobuf() + b"\0" * 10240), tmp_path / "got")
    assert os.listdir(tmp_path / "got") == []


def test_a_full_disk_names_the_member(tmp_path, monkeypatch):
    def full(file_fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safe_files, "write_all", full)
    with pytest.raises(OSError) as caught:
        unpack(pack(members(V1)), tmp_path / "got")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "plugin.yaml")


def test_files_are_created_and_never_opened(tmp_path):
    (tmp_path / "got").mkdir()
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "got" / "plugin.yaml").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        unpack(pack(members(V1)), tmp_path / "got")
    assert (tmp_path / "victim").read_bytes() == b"untouched"
