# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin tree's digest covers, what a scan sees, and which differences have which kind."""
from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import struct

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_tree
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.printable import printable
from plugin_samples import V1, V2, digest_of, write_tree


def scan(path, **options):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return plugin_tree.scan(descriptor, **options)
    finally:
        os.close(descriptor)


@pytest.fixture(name="tree")
def fixture_tree(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_tree(tmp_path / "ecc", V1)


def digest(path) -> str:
    return plugin_tree.tree_digest(scan(path).entries)


def test_digest_is_the_documented_serialisation():
    content = b"#!/bin/sh\n"
    entries = {
        "": plugin_tree.entry("directory", 0o755),
        "b\u00e9": plugin_tree.entry("file", 0o755, len(content), hashlib.sha256(content).hexdigest()),
        "a": plugin_tree.entry("link", 0o777, target="x"),
    }
    name = "b\u00e9".encode("utf-8")
    expected = b"molecule_ai.workspace plugin tree 1\n" + struct.pack(">Q", 3)
    expected += b"d" + struct.pack(">Q", 0) + struct.pack(">I", 0o755)
    expected += b"l" + struct.pack(">Q", 1) + b"a" + struct.pack(">I", 0o777) + struct.pack(">Q", 1) + b"x"
    expected += b"f" + struct.pack(">Q", len(name)) + name + struct.pack(">I", 0o755) + struct.pack(">Q", len(content)) + hashlib.sha256(content).digest()
    assert plugin_tree.tree_digest(entries) == "sha256:" + hashlib.sha256(expected).hexdigest()


def test_digest_never_changes_between_releases():
    assert digest_of(V1) == "sha256:0b8c30631e000491546e631518c2b92022878906f4f38dcafab098cd0114ec17"


def test_scanned_tree_has_the_digest_of_its_description(tree):
    assert digest(tree) == digest_of(V1)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "plugin.yaml").write_bytes(b"name: ecc\nversion: 1.0.1\n"),
        lambda tree: (tree / "plugin.yaml").rename(tree / "plugin.yml"),
        lambda tree: (tree / "plugin.yaml").chmod(0o600),
        lambda tree: (tree / "skills" / "helper" / "run.sh").chmod(0o644),
        lambda tree: (tree / "empty").rmdir(),
        lambda tree: (tree / "another").mkdir(),
        lambda tree: (tree / "new").write_bytes(b""),
        lambda tree: (tree / "new").symlink_to("plugin.yaml"),
        lambda tree: os.mkfifo(tree / "pipe"),
        lambda tree: tree.chmod(0o700),
    ],
    ids=["content", "name", "mode", "exec bit", "empty directory removed", "directory added", "file added", "link added", "pipe added", "root's mode"],
)
def test_digest_sees(tree, change):
    before = digest(tree)
    change(tree)
    assert digest(tree) != before


def test_digest_tells_trees_apart_whose_names_and_contents_join_to_the_same(tmp_path):
    one = write_tree(tmp_path / "one", {"a": b"bc"})
    two = write_tree(tmp_path / "two", {"ab": b"c"})
    assert digest(one) != digest(two)


def test_what_the_runtime_compiles_is_no_drift(tree):
    before = digest(tree)
    (tree / "adapters").mkdir()
    with_adapters = digest(tree)
    (tree / "adapters" / "__pycache__").mkdir()
    (tree / "adapters" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    (tree / "adapters" / "old.pyc").write_bytes(b"x")
    assert digest(tree) == with_adapters != before


def test_compiled_files_count_when_nothing_is_to_be_ignored(tree):
    (tree / "old.pyc").write_bytes(b"x")
    assert "old.pyc" in scan(tree, ignore=None).entries


@pytest.mark.parametrize("name", ["link.pyc", "__pycache__"])
def test_a_link_cannot_hide_behind_a_compiled_files_name(tree, name):
    (tree / name).symlink_to("/etc/passwd")
    assert scan(tree).entries[name]["type"] == "link"


def test_links_are_described_and_never_followed(tree):
    (tree / "rules" / "outside").symlink_to("/etc")
    entries = scan(tree).entries
    assert entries["rules/outside"]["target"] == "/etc"
    assert not [path for path in entries if path.startswith("rules/outside/")]


def test_scan_reports_who_owns_what_it_should_not(tree):
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(tree / "rules" / "one.md", 1234, 1235)
    result = scan(tree, owner=(0, 0))
    assert result.wrong_owner == ["rules/one.md"]
    assert (result.entries["rules/one.md"]["uid"], result.entries["rules/one.md"]["gid"]) == (1234, 1235)


def test_a_tree_exactly_at_the_limits_passes(tree):
    size = sum(entry["size"] for entry in scan(tree).entries.values())
    count = len(scan(tree).entries) - 1
    scan(tree, limits=plugin_tree.Limits(max_bytes=size, max_entries=count, max_depth=2))


@pytest.mark.parametrize(
    "limits, words",
    [({"max_bytes": 80}, "more than 80 bytes"), ({"max_entries": 3}, "more than 3 files"), ({"max_depth": 1}, "nested deeper than 1 ")],
)
def test_a_tree_over_a_limit_is_refused(tree, limits, words):
    (tree / "big").write_bytes(b"x" * 81)
    with pytest.raises(WorkspaceError, match=words):
        scan(tree, limits=plugin_tree.Limits(**limits), label="/configs/plugins/ecc")


def test_unreadable_is_an_error_and_not_absent(tree, monkeypatch):
    real = os.open

    def refuse(path, flags, *arguments, **options):
        if path == "one.md":
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WorkspaceError, match=r"cannot read /configs/plugins/ecc/rules/one.md: Permission denied"):
        scan(tree, label="/configs/plugins/ecc")


@pytest.mark.parametrize(
    "swap, words",
    [
        (lambda path, outside: path.symlink_to(outside), "cannot read the plugin/rules/one.md: Too many levels of symbolic links"),
        (lambda path, outside: os.mkfifo(path), "the plugin/rules/one.md changed its type while it was being read"),
        (lambda path, outside: path.mkdir(), "the plugin/rules/one.md changed its type while it was being read"),
    ],
    ids=["link", "pipe", "directory"],
)
def test_a_file_that_is_swapped_while_it_is_inspected_is_an_error(tmp_path, monkeypatch, swap, words):
    (tmp_path / "outside").write_bytes(b"secret")
    file = write_tree(tmp_path / "plugin", {"rules/one.md": b"# One\n"}) / "rules" / "one.md"
    real = os.open

    def open_after_the_swap(path, flags, *more, **options):
        if path == "one.md":
            file.unlink()
            swap(file, tmp_path / "outside")
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", open_after_the_swap)
    with pytest.raises(WorkspaceError, match=words):
        scan(tmp_path / "plugin", label="the plugin")


def test_names_that_are_not_utf8_are_described(tree):
    os.close(os.open(os.fsencode(str(tree)) + b"/\xff", os.O_CREAT | os.O_WRONLY, 0o644))
    entries = scan(tree).entries
    assert printable(next(path for path in entries if path.startswith("\udcff"))) == "\\xff"
    assert plugin_tree.tree_digest(entries) != digest_of(V1)


def test_each_difference_has_its_kind(tree):
    expected = scan(tree).entries
    (tree / "plugin.yaml").write_bytes(b"name: bad\n")
    (tree / "rules" / "one.md").unlink()
    (tree / "extra").mkdir()
    (tree / "skills" / "helper" / "run.sh").chmod(0o644)
    (tree / "empty").rmdir()
    (tree / "empty").symlink_to("rules")
    drift = plugin_tree.compare(expected, scan(tree).entries, ["skills"], (1000, 1000))
    assert [(item["kind"], item["path"]) for item in drift] == [
        ("modified", "empty"),
        ("extra", "extra"),
        ("modified", "plugin.yaml"),
        ("missing", "rules/one.md"),
        ("owner", "skills"),
        ("mode", "skills/helper/run.sh"),
    ]
    assert drift[-1]["expected"] == "0755" and drift[-1]["observed"] == "0644"
    assert drift[0]["expected"] == "directory" and drift[0]["observed"] == "link to rules"


def test_equal_trees_do_not_differ(tree):
    entries = scan(tree).entries
    assert plugin_tree.compare(entries, scan(tree).entries) == []


@pytest.mark.parametrize("mode, kind, installed", [(0o600, "file", 0o644), (0o4711, "file", 0o755), (0o077, "file", 0o644), (0o2700, "directory", 0o755)])
def test_modes_are_normalised(mode, kind, installed):
    assert plugin_tree.normalised_mode(mode, kind) == installed


@pytest.mark.parametrize(
    "path, kind, stays",
    [
        (".git", "directory", True),
        ("sub/.git/config", "file", True),
        ("a/__pycache__", "directory", True),
        ("a/b.pyc", "file", True),
        ("names.pyc", "directory", False),
        (".github/workflows/ci.yml", "file", False),
        (".gitignore", "file", False),
    ],
)
def test_what_is_never_shipped(path, kind, stays):
    assert plugin_tree.is_never_shipped(path, kind) is stays


@pytest.mark.parametrize("make, kind", [(lambda path: path.symlink_to("/etc"), "link"), (lambda path: path.write_bytes(b"x"), "file"), (os.mkfifo, "other")])
def test_observe_describes_what_is_no_directory(tmp_path, make, kind):
    make(tmp_path / "ecc")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        found = plugin_tree.observe(descriptor, "ecc")
        assert found.entries[""]["type"] == kind
        assert plugin_tree.tree_digest(found.entries) != digest_of({})
        assert plugin_tree.observe(descriptor, "nothing") is None
    finally:
        os.close(descriptor)


class Replacements:
    """Asked about each path while a tree is being read, as ``ignore``: the first ``times`` times it puts ``files`` in the tree's place, and throws what
    was there away, as two changes do that follow one another."""

    def __init__(self, directory: pathlib.Path, files, times: int) -> None:
        self._directory, self._files, self.left = directory, files, times

    def __call__(self, path: str, kind: str) -> bool:
        if self.left:
            self.left -= 1
            os.rename(self._directory / "ecc", self._directory / "old")
            write_tree(self._directory / "ecc", self._files)
            shutil.rmtree(self._directory / "old")
        return False


def test_a_tree_that_is_replaced_while_it_is_read_is_read_again(tmp_path):
    """Otherwise what is left of the old one would be described, which was never there."""
    write_tree(tmp_path / "ecc", V1)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        found = plugin_tree.observe(descriptor, "ecc", ignore=Replacements(tmp_path, V2, 3))
        assert plugin_tree.tree_digest(found.entries) == digest_of(V2)
        with pytest.raises(WorkspaceError, match="the plugin tree is replaced again and again"):
            plugin_tree.observe(descriptor, "ecc", ignore=Replacements(tmp_path, V1, 1000))
    finally:
        os.close(descriptor)


def test_a_tree_that_is_removed_while_it_is_read_is_not_there(tmp_path):
    write_tree(tmp_path / "ecc", V1)
    descriptor = os.open(tmp_path, os.O_RDONLY)

    def remove(path: str, kind: str) -> bool:
        if (tmp_path / "ecc").exists():
            os.rename(tmp_path / "ecc", tmp_path / "old")
            shutil.rmtree(tmp_path / "old")
        return False

    try:
        assert plugin_tree.observe(descriptor, "ecc", ignore=remove) is None
    finally:
        os.close(descriptor)
