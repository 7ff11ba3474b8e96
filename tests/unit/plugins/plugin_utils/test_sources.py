# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that lie on the controller: directories, archives, the registry; and what no source may be."""
from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Callable

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.sources import SourceSettings, SourceTree, parse_source


def _settings(tmp_path: Path, **changes: object) -> SourceSettings:
    def find(path: str) -> str:
        found = os.path.join(tmp_path, path)
        if not os.path.exists(found):
            raise InvalidInputError(f"source {path!r} does not exist")
        return found

    values: dict[str, object] = {
        "find": find, "registry": str(tmp_path / "registry"), "github_url": "https://github.com", "timeout": 20, "max_bytes": 1000, "max_entries": 20
    }
    return SourceSettings(**(values | changes))  # type: ignore[arg-type]


def _prepare(tmp_path: Path, text: str, **changes: object) -> SourceTree:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    return parse_source(text, _settings(tmp_path, **changes), allow_unpinned=False).prepare(workspace)


def _member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, mode: int = 0o644, linkname: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname, member.size = kind, mode, linkname, len(content)
    return member, content


def _archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))


PLUGIN_YAML = _member("plugin.yaml", b"name: x\n")


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("ecc", "registry", "local://ecc"),
        ("local://ecc", "registry", "local://ecc"),
        ("./ecc", "directory", "./ecc"),
        ("plugins/ecc", "directory", "plugins/ecc"),
        ("ecc.tar.gz", "archive", "ecc.tar.gz"),
        ("plugins/ecc.tgz", "archive", "plugins/ecc.tgz"),
        ("github://Molecule-AI/plugin.x#v1.0", "github", "github://Molecule-AI/plugin.x#v1.0"),
        ("git+https://user:secret@git.example.com:8443/x.git?token=1#v1", None, None),
        ("git+https://user:secret@git.example.com:8443/x.git#v1", "git", "git+https://git.example.com:8443/x.git#v1"),
        ("git+https://secret@git.example.com/x#v1", "git", "git+https://git.example.com/x#v1"),
        ("git+ssh://git@git.example.com/x#v1", "git", "git+ssh://git@git.example.com/x#v1"),
        ("git+file:///srv/x#v1", "git", "git+file:///srv/x#v1"),
    ],
)
def test_each_kind_is_known_by_its_form(tmp_path: Path, text: str, kind: str | None, shown: str | None) -> None:
    for directory in ("ecc", "plugins/ecc", "registry/ecc"):
        (tmp_path / directory).mkdir(parents=True)
    for file in ("ecc.tar.gz", "plugins/ecc.tgz"):
        (tmp_path / file).write_bytes(b"")
    if kind is None:
        with pytest.raises(InvalidInputError) as caught:
            parse_source(text, _settings(tmp_path), allow_unpinned=False)
        assert "secret" not in str(caught.value) and "token" not in str(caught.value)
        return
    source = parse_source(text, _settings(tmp_path), allow_unpinned=False)
    assert (source.NAME, source.shown) == (kind, shown)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not allowed: it is empty"),
        ("a\nb", "contains control characters"),
        ("a/" * 2000, "longer than 2000 characters"),
        ("https://user:secret@example.com/x.tar.gz", "of no known kind"),
        ("git@github.com:owner/repository", "of no known kind"),
        ("oci://example.com/x", "of no known kind"),
        ("plugins/none", "does not exist"),
        ("none.tar.gz", "does not exist"),
        ("none", "not in the registry"),
        ("local://../x", "plugin name '../x' is not allowed"),
        ("local://.", "plugin name '.' is not allowed"),
        ("local://", "plugin name '' is not allowed"),
        ("linked", "is a symbolic link in the registry"),
        ("./file", "is not a directory"),
        ("directory.tar.gz", "is not a regular file"),
        ("github://owner#v1", "is not a GitHub repository"),
        ("github://owner/x/y#v1", "is not a GitHub repository"),
        ("github://owner/..#v1", "is not a GitHub repository"),
        ("github://-o/x#v1", "is not a GitHub repository"),
        ("github://owner/x", "is not pinned"),
        ("github://owner/x#", "is not pinned"),
        ("git+https://example.com/x", "is not pinned"),
        ("git+https://example.com/x#-upload-pack=id", "which git does not allow"),
        ("git+https://example.com/x#a b", "which git does not allow"),
        ("git+https://example.com/x#a..b", "which git does not allow"),
        ("git+https://example.com/x#v1:refs/heads/y", "which git does not allow"),
        ("git+https://example.com/x#v1^{}", "which git does not allow"),
        ("git+https://example.com/x#x.lock", "which git does not allow"),
        ("git+http://example.com/x#v1", "is not allowed: use one of"),
        ("git+ext::sh -c id#v1", "is not allowed: use one of"),
        ("git+ext://sh#v1", "is not allowed: use one of"),
        ("git+ssh://-oProxyCommand=id/x#v1", "is not a repository"),
        ("git+ssh://-oProxyCommand=id@example.com/x#v1", "starts with '-'"),
        ("git+ssh://user:secret@example.com/x#v1", "has a password"),
        ("git+file://host/x#v1", "is not a repository"),
        ("git+file://#v1", "is not a repository"),
        ("git+https:///x#v1", "is not a repository"),
        ("git+https://example.com#v1", "is not a repository"),
        ("git+https://example.com:99999/x#v1", "is not a URL"),
        ("git+https://[::1/x#v1", "is not a URL"),
    ],
)
def test_what_is_no_source_is_refused_before_anything_is_fetched(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "linked").symlink_to("/etc")
    (tmp_path / "file").write_text("", encoding="ascii")
    (tmp_path / "directory.tar.gz").mkdir()
    with pytest.raises(InvalidInputError, match=message.replace(".", r"\.")) as caught:
        parse_source(text, _settings(tmp_path), allow_unpinned=False)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_bare_name_without_a_registry_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"set 'registry' to its directory, or write '\./ecc' for a path"):
        parse_source("ecc", _settings(tmp_path, registry=None), allow_unpinned=False)


def test_a_directory_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "ecc").mkdir()
    assert _prepare(tmp_path, "./ecc").root == tmp_path / "ecc"


def test_an_archive_without_a_top_level_directory(tmp_path: Path) -> None:
    _archive(tmp_path / "x.tgz", _member("./", kind=tarfile.DIRTYPE), _member("./plugin.yaml", b"name: x\n"), _member("./hooks/h", b"#!", mode=0o700))
    root = _prepare(tmp_path, "x.tgz").root
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == ["hooks", "hooks/h", "plugin.yaml"]
    assert stat.S_IMODE((root / "hooks/h").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "plugin.yaml").stat().st_mode) == 0o644


def test_an_archive_of_a_git_server_has_one_top_level_directory(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", pax_headers={"comment": "0123456789"}) as tar:
        for member, content in (_member("x-1.0/", kind=tarfile.DIRTYPE), _member("x-1.0/plugin.yaml", b"name: x\n"), _member("x-1.0/rules/a.md", b"a")):
            tar.addfile(member, io.BytesIO(content))
    root = _prepare(tmp_path, "x.tar.gz").root
    assert root.name == "x-1.0"
    assert (root / "rules/a.md").read_bytes() == b"a"


def test_what_is_never_shipped_is_not_even_unpacked(tmp_path: Path) -> None:
    _archive(
        tmp_path / "x.tgz", PLUGIN_YAML, _member(".git/config", b"x"), _member(".git/link", kind=tarfile.SYMTYPE, linkname="/etc"), _member("a/b.pyc", b"x")
    )
    root = _prepare(tmp_path, "x.tgz").root
    assert [path.name for path in root.rglob("*")] == ["plugin.yaml"]


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (_member("/etc/passwd", b"x"), "points outside"),
        (_member("../x", b"x"), "points outside"),
        (_member("a/../../x", b"x"), "points outside"),
        (_member("link", kind=tarfile.SYMTYPE, linkname="/etc"), "'link', which is a symbolic link"),
        (_member("link", kind=tarfile.LNKTYPE, linkname="plugin.yaml"), "'link', which is a hard link"),
        (_member("device", kind=tarfile.CHRTYPE), "'device', which is a special file"),
        (_member("device", kind=tarfile.BLKTYPE), "'device', which is a special file"),
        (_member("pipe", kind=tarfile.FIFOTYPE), "'pipe', which is a special file"),
        (_member("plugin.yaml", b"twice"), "'plugin.yaml' twice"),
        (_member("plugin.yaml", kind=tarfile.DIRTYPE), "'plugin.yaml' twice"),
        (_member("plugin.yaml/below", b"x"), "cannot be unpacked"),
        (_member("big", b"x" * 993), "more than 1000 bytes"),
        (_member(b"\xff".decode("utf-8", "surrogateescape"), b"x"), "not UTF-8"),
    ],
)
def test_hostile_members_are_refused_with_their_path(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], message: str) -> None:
    _archive(tmp_path / "x.tgz", PLUGIN_YAML, member)
    with pytest.raises(InvalidInputError, match=message):
        _prepare(tmp_path, "x.tgz")
    assert not (tmp_path / "x").exists()


def test_files_of_exactly_the_cap_pass(tmp_path: Path) -> None:
    _archive(tmp_path / "x.tgz", PLUGIN_YAML, _member("big", b"x" * 992))
    assert (_prepare(tmp_path, "x.tgz").root / "big").stat().st_size == 992


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    _archive(tmp_path / "x.tgz", PLUGIN_YAML, *[_member(f"f{number}") for number in range(20)])
    with pytest.raises(InvalidInputError, match="more than 20 entries"):
        _prepare(tmp_path, "x.tgz")


def test_an_archive_that_explodes_is_stopped_early(tmp_path: Path) -> None:
    # A header that claims 30 MB: nothing but a limit on the uncompressed stream stops a reader that would keep it in memory.
    member = tarfile.TarInfo("name")
    member.type, member.size = tarfile.XHDTYPE, 30_000_000
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as tar:
        tar.addfile(member, io.BytesIO(b"\0" * 30_000_000))
    with pytest.raises(InvalidInputError, match="expands to more than a plugin may have"):
        _prepare(tmp_path, "x.tgz")


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00"])
def test_a_broken_archive_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tgz").write_bytes(content)
    with pytest.raises(WorkspaceError, match=r"x\.tgz cannot be unpacked"):
        _prepare(tmp_path, "x.tgz")


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-5], lambda data: data[:-8] + bytes(8), lambda data: data + b"garbage"],
    ids=["no checksum", "wrong checksum", "garbage behind it"],
)
def test_an_archive_whose_end_is_damaged_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    _archive(tmp_path / "whole.tgz", PLUGIN_YAML)
    (tmp_path / "x.tgz").write_bytes(damage((tmp_path / "whole.tgz").read_bytes()))
    with pytest.raises(InvalidInputError, match=r"x\.tgz cannot be unpacked"):
        _prepare(tmp_path, "x.tgz")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    _archive(tmp_path / "whole.tgz", PLUGIN_YAML, _member("random", os.urandom(900)))
    (tmp_path / "x.tgz").write_bytes((tmp_path / "whole.tgz").read_bytes()[:-200])
    with pytest.raises(InvalidInputError, match="cannot be unpacked"):
        _prepare(tmp_path, "x.tgz")


@pytest.mark.parametrize(
    "text",
    [
        "github://user:s3cret@owner/repository#v1", "git+https://user:s3/cret@host/x#v1", "git+https://user:s3#cret@host/x#v1", "git+https://s3#cret@host/x",
        "git+https://user/s3:cret@host/x#v1", "git+https://user:s3@cret@host/x", "git+ssh://git:s3cret@host/x#v1", "git+http://user:s3cret@host/x#v1",
        "https://user:s3cret@host/x.tar.gz", "https://user:s3/cret@host/x.tar.gz", "git+https://user:s3cret@host/x#v1\n",
        "git+https://user:s3cret@host/" + "x" * 2000,
    ],
)
def test_credentials_in_a_bad_source_are_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_source(text, _settings(tmp_path), allow_unpinned=False)
    assert not [part for part in ("s3", "cret") if part in str(caught.value)], str(caught.value)
