# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a source to a bundle: what is shipped, what is refused, and that equal trees give equal bytes."""
from __future__ import annotations

import dataclasses
import os
import stat
import tarfile
from pathlib import Path

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.plugin_tree import Limits, tree_digest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import bundle
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.prepared_plugin import PreparedPlugin, describe_tree, prepare, without_repository_files
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.sources import DirectorySource, Source, SourceTree

NORMAL_LIMITS = Limits()
PLUGIN_YAML = "name: x\nversion: 1.0.0\nruntimes: [claude_code]\n"


def _tree(root: Path, **files: str) -> Path:
    for path, text in ({"plugin.yaml": PLUGIN_YAML} | files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def _prepare(root: Path, include_repository_files: bool = False, limits: Limits = NORMAL_LIMITS) -> PreparedPlugin:
    return prepare(DirectorySource(str(root), str(root)), include_repository_files, limits, RunCache(root.parent / "cache"))


def _members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def test_a_bundle_holds_the_tree_with_normalised_modes_and_nobodys_name(tmp_path: Path) -> None:
    root = _tree(tmp_path / "x", **{"hooks/h": "#!", "rules/é.md": "é", "a" * 120 + "/" + "b" * 120: "long"})
    (root / "empty").mkdir(mode=0o700)
    (root / "hooks/h").chmod(0o711)
    (root / "plugin.yaml").chmod(0o600)
    plugin = _prepare(root)
    members = _members(plugin.bundle)
    assert set(members) == {"plugin.yaml", "hooks", "hooks/h", "rules", "rules/é.md", "empty", "a" * 120, "a" * 120 + "/" + "b" * 120}
    assert {name for name, member in members.items() if member.isdir()} == {"hooks", "rules", "empty", "a" * 120}
    assert all((member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0) for member in members.values())
    assert {name: member.mode for name, member in members.items() if name in ("hooks/h", "plugin.yaml", "empty")} == {
        "hooks/h": 0o755, "plugin.yaml": 0o644, "empty": 0o755
    }
    assert bundle.read_bundled_files(plugin.bundle, {"rules/é.md", "none"}) == {"rules/é.md": "é".encode()}


def test_equal_trees_are_equal_bytes_whatever_their_modes_owners_and_times(tmp_path: Path) -> None:
    first, second = _tree(tmp_path / "a" / "x", **{"rules/a.md": "a"}), _tree(tmp_path / "b" / "x", **{"rules/a.md": "a"})
    os.utime(second / "rules/a.md", (1, 1))
    (second / "rules/a.md").chmod(0o600)
    (second / "rules").chmod(0o700)
    one, other = _prepare(first), _prepare(second)
    assert one.digest == other.digest
    assert one.bundle.read_bytes() == other.bundle.read_bytes()


@pytest.mark.parametrize("change", ["content", "name", "mode", "empty directory"])
def test_every_difference_is_another_digest(tmp_path: Path, change: str) -> None:
    first, second = _tree(tmp_path / "a" / "x", **{"rules/a.md": "a"}), _tree(tmp_path / "b" / "x", **{"rules/a.md": "a"})
    if change == "content":
        (second / "rules/a.md").write_text("b", encoding="utf-8")
    elif change == "name":
        (second / "rules/a.md").rename(second / "rules/b.md")
    elif change == "mode":
        (second / "rules/a.md").chmod(0o755)
    else:
        (second / "empty").mkdir()
    assert _prepare(first).digest != _prepare(second).digest


def test_the_description_fits_the_files(tmp_path: Path) -> None:
    plugin = _prepare(_tree(tmp_path / "x"))
    assert plugin.digest == tree_digest(plugin.entries)
    assert (plugin.declared_name, plugin.version, plugin.runtimes, plugin.revision) == ("x", "1.0.0", ("claude_code",), None)
    assert sorted(path.name for path in plugin.directory.iterdir()) == ["bundle.tar.gz", "description.json", "entries.json"]


def test_repository_files_are_an_option_and_some_are_never_shipped(tmp_path: Path) -> None:
    never = {".git/config": "x", "adapters/__pycache__/a.pyc": "x", "a.pyc": "x"}
    repository = {".github/workflows/ci.yml": "x", ".gitignore": "x", ".gitattributes": "x", ".pre-commit-config.yaml": "x", ".editorconfig": "x"}
    root = _tree(tmp_path / "x", **never, **repository, **{"skills/template/.gitignore": "content of the plugin"})
    shipped = {"plugin.yaml", "skills/template/.gitignore", "adapters"}
    directories = {"", "skills", "skills/template"}
    without, including = _prepare(root), _prepare(root, include_repository_files=True)
    assert set(without.entries) == shipped | directories
    assert set(including.entries) == shipped | directories | set(repository) | {".github", ".github/workflows"}
    assert without.digest != including.digest
    assert set(_members(without.bundle)) == set(without.entries) - {""}


def test_symbolic_links_and_special_files_are_refused_with_their_path(tmp_path: Path) -> None:
    root = _tree(tmp_path / "x", **{"skills/a/SKILL.md": "a"})
    (root / "skills/a/secrets").symlink_to("/etc/shadow")
    with pytest.raises(InvalidInputError, match="contains 'skills/a/secrets', which is a symbolic link"):
        _prepare(root)
    (root / "skills/a/secrets").unlink()
    os.mkfifo(root / "skills/pipe")
    with pytest.raises(InvalidInputError, match="contains 'skills/pipe', which is a special file"):
        _prepare(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_refused_with_its_path(tmp_path: Path) -> None:
    root = _tree(tmp_path / "x")
    os.mknod(root / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with pytest.raises(InvalidInputError, match="contains 'null', which is a special file"):
        _prepare(root)


@pytest.mark.parametrize(("name", "shown"), [(b"\xff", r"\\xff"), (b"a\nb", r"a\\nb"), (b"\x1b[2J", r"\\x1b\[2J"), ("a\u202eb".encode(), r"a\\u202eb")])
def test_a_name_that_cannot_be_printed_is_refused_before_anything_is_sent(tmp_path: Path, name: bytes, shown: str) -> None:
    root = _tree(tmp_path / "x")
    with open(os.fsencode(root) + b"/" + name, "wb"):
        pass
    with pytest.raises(InvalidInputError, match=f"contains the name '{shown}', which is not printable UTF-8"):
        _prepare(root)


def test_the_caps_pass_exactly(tmp_path: Path) -> None:
    root = _tree(tmp_path / "x", big="b" * 1000)
    size = 1000 + len(PLUGIN_YAML)
    _prepare(root, limits=Limits(max_bytes=size, max_entries=2))
    with pytest.raises(WorkspaceError, match=f"more than {size - 1} bytes"):
        _prepare(root, limits=Limits(max_bytes=size - 1))
    with pytest.raises(WorkspaceError, match="more than 1 "):
        _prepare(root, limits=Limits(max_entries=1))


def test_a_directory_without_plugin_yaml_is_no_plugin(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(InvalidInputError, match=r"is not a plugin: it has no plugin\.yaml"):
        _prepare(tmp_path / "x")


def test_a_file_that_changes_between_description_and_packing_is_noticed(tmp_path: Path) -> None:
    root = _tree(tmp_path / "x", file="before")
    for number, changed in enumerate(("after!", "longer than before", "less", None)):
        (root / "file").write_text("before", encoding="ascii")
        entries = describe_tree(root, Limits(), "x")
        if changed is None:
            (root / "file").unlink()
            (root / "file").symlink_to("/etc/passwd")
        else:
            (root / "file").write_text(changed, encoding="ascii")
        with pytest.raises(InvalidInputError, match="x: file changed while it was being packed"):
            bundle.write_bundle(root, entries, tmp_path / f"bundle-{number}", "x")


def test_a_source_is_prepared_once_per_run(tmp_path: Path) -> None:
    prepared: list[str] = []

    class Counting(Source):
        NAME = "counting"
        shown = "counting"

        def cache_fields(self, max_entries: int) -> dict[str, object]:
            return {"path": "x"}

        def prepare(self, workspace: Path) -> SourceTree:
            prepared.append("once")
            return SourceTree(_tree(workspace / "x"), "abc", warnings=("a warning",))

    cache = RunCache(tmp_path / "cache")
    first, second = (prepare(Counting(), False, Limits(), cache) for _number in range(2))
    assert prepared == ["once"]
    assert first == second
    assert (first.revision, first.warnings) == ("abc", ("a warning",))
    prepare(Counting(), True, Limits(), cache)
    assert prepared == ["once", "once"]


def test_a_pinned_commit_is_the_one_of_the_ref(tmp_path: Path) -> None:
    plugin = dataclasses.replace(_prepare(_tree(tmp_path / "x")), revision="ab" * 20)
    plugin.require_pins("x", None, None, "AB" * 20)
    with pytest.raises(InvalidInputError, match=f"is the commit {'ab' * 20}, but {'0' * 40} was asked for: its tag was moved"):
        plugin.require_pins("x", None, None, "0" * 40)


def test_pins_and_names(tmp_path: Path) -> None:
    plugin = _prepare(_tree(tmp_path / "x"))
    plugin.require_pins("x", plugin.digest, plugin.plugin_yaml_sha256.upper(), None)
    with pytest.raises(InvalidInputError, match=f"plugin x has the digest {plugin.digest}, but sha256:0"):
        plugin.require_pins("x", "sha256:" + "0" * 64, None, None)
    with pytest.raises(InvalidInputError, match=r"plugin x has a plugin\.yaml with the sha256"):
        plugin.require_pins("x", None, "0" * 64, None)
    with pytest.raises(InvalidInputError, match=r"is no git repository: pin it with 'digest' instead"):
        plugin.require_pins("x", None, None, "0" * 40)
    assert plugin.warnings_for("x") == []
    assert "calls itself 'x'" in plugin.warnings_for("other")[0]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    class Failing(DirectorySource):
        def prepare(self, workspace: Path) -> SourceTree:
            raise OSError(28, "No space left on device")

    (tmp_path / "x").mkdir()
    with pytest.raises(WorkspaceError, match=r"x cannot be prepared on the controller: .*No space left on device"):
        prepare(Failing(str(tmp_path / "x"), "x"), False, Limits(), RunCache(tmp_path / "cache"))


def test_a_shipment_holds_each_bundle_once_under_its_digest(tmp_path: Path) -> None:
    first, second = _prepare(_tree(tmp_path / "a" / "x")), _prepare(_tree(tmp_path / "b" / "x", file="b"))
    bundle.write_shipment({plugin.digest: plugin.bundle for plugin in (second, first)}, tmp_path / "one.tar")
    bundle.write_shipment({plugin.digest: plugin.bundle for plugin in (first, second)}, tmp_path / "other.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    assert sorted(_members(tmp_path / "one.tar")) == sorted(plugin.digest.removeprefix("sha256:") + ".tar.gz" for plugin in (first, second))


def test_repository_files_are_only_those_in_the_root(tmp_path: Path) -> None:
    entries = describe_tree(_tree(tmp_path / "x", **{".github/a": "", "skills/.github/a": ""}), Limits(), "x")
    assert set(without_repository_files(entries)) == {"", "plugin.yaml", "skills", "skills/.github", "skills/.github/a"}
