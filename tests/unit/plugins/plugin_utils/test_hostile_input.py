# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that somebody made to do harm, given to both who unpack: the controller (a user's source) and the workspace (a bundle).

Whatever an archive holds, either a plain tree within the limits comes out of it, or one sentence; nothing outside of the tree is touched.
"""
from __future__ import annotations

import errno
import gzip
import io
import json
import os
import pathlib
import tarfile
import tempfile
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import archive, names, plugin_tree
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import manifest, source_archive, workspace_answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LIMITS = plugin_tree.Limits(max_bytes=20_000, max_entries=12, max_depth=6)
EXAMPLES = settings(max_examples=int(os.environ.get("HOSTILE_EXAMPLES") or 150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
TYPES = [
    tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
    tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, b"Z",
]
PARTS = [
    "..", ".", "", "a", "A", "plugin.yaml", "rules", "new\nline", "esc\x1b[2J", "\u202egnp", "caf\u00e9", "\udcff", "x" * 120, "x" * 300, "-rf", "~", "C:",
]
PAX_HEADERS = [{}, {}, {"path": "../outside"}, {"size": "-5"}, {"size": "9" * 30}, {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}]
PATHS = st.builds(lambda lead, parts: lead + "/".join(parts), st.sampled_from(["", "/", "//", "./"]), st.lists(st.sampled_from(PARTS), min_size=1, max_size=9))


@st.composite
def members(draw: typing.Callable[..., typing.Any]) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(draw(PATHS))
    member.type = draw(st.sampled_from(TYPES + [tarfile.REGTYPE, tarfile.DIRTYPE] * 6))
    member.mode = draw(st.sampled_from([0o644, 0o755, 0o4755, 0o0, 0o7777]))
    member.uid = member.gid = draw(st.sampled_from([0, 1000, 2**21 - 1]))
    member.linkname = draw(st.sampled_from(["", "/etc/passwd", "../outside", "a"])) if member.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    content = draw(st.sampled_from([b"", b"x", b"x" * 600, b"x" * 25_000])) if member.isreg() else b""
    member.size = len(content)
    member.pax_headers = draw(st.sampled_from(PAX_HEADERS))
    return member, content


@st.composite
def archives(draw: typing.Callable[..., typing.Any]) -> bytes:
    """A tar.gz, sometimes with a good plugin.yaml first, sometimes cut off or changed in one byte."""
    packed = io.BytesIO()
    style = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
    with tarfile.open(fileobj=packed, mode="w", format=style, encoding="utf-8", errors="surrogateescape") as tar:
        for member, content in draw(st.lists(members(), max_size=15)):
            tar.addfile(member, io.BytesIO(content))
    data = bytearray(packed.getvalue())
    if draw(st.integers(0, 4)) == 0:
        data[draw(st.integers(0, min(len(data) - 1, 3000)))] ^= 1 << draw(st.integers(0, 7))
    compressed = gzip.compress(bytes(data), 1)
    return compressed[: draw(st.integers(0, len(compressed)))] if draw(st.integers(0, 4)) == 0 else compressed


def require_plain(root: pathlib.Path) -> None:
    """Nothing but files and directories, and not more of them than allowed."""
    found = list(root.rglob("*"))
    assert all(not path.is_symlink() and (path.is_dir() or path.is_file()) for path in found)
    assert sum(path.stat().st_size for path in found if path.is_file()) <= LIMITS.max_bytes
    assert all(path.stat().st_nlink == 1 and not path.stat().st_mode & 0o7022 for path in found if path.is_file())


def outside(directory: pathlib.Path) -> typing.Any:
    """What lies beside the place of the tree."""
    return sorted(os.listdir(directory)), (directory / "outside").read_bytes(), os.stat(directory / "outside").st_mtime_ns


@EXAMPLES
@given(archives())
def test_a_bundle_becomes_a_plain_tree_or_a_sentence(packed: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "outside").write_bytes(b"canary")
        (directory / "tree").mkdir()
        before = outside(directory)
        tree_fd = os.open(directory / "tree", os.O_RDONLY)
        try:
            archive.unpack(io.BytesIO(packed), tree_fd, limits=LIMITS)
            assert len(list((directory / "tree").rglob("*"))) <= LIMITS.max_entries
        except WorkspaceError as error:
            assert "\n" not in str(error) and "\x1b" not in str(error)
        except OSError as error:  # apply makes a sentence of it
            assert error.errno == errno.ENAMETOOLONG
        finally:
            os.close(tree_fd)
        require_plain(directory / "tree")
        assert outside(directory) == before


@EXAMPLES
@given(archives())
def test_a_source_becomes_a_plain_tree_or_a_sentence(packed: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "outside").write_bytes(b"canary")
        (directory / "work").mkdir()
        (directory / "source.tar.gz").write_bytes(packed)
        before = outside(directory)
        try:
            source_archive.unpack(directory / "source.tar.gz", directory / "work", LIMITS.max_bytes, LIMITS.max_entries)
        except InvalidInputError as error:
            assert "\n" not in str(error) and "\x1b" not in str(error)
        require_plain(directory / "work")
        assert outside(directory) == before


def test_a_gzip_bomb_is_cut_off_early(tmp_path: pathlib.Path) -> None:
    """What is written of it is bounded by the limits and not by what it expands to."""
    zeros = 100_000_000
    member = tarfile.TarInfo("zeros")
    member.size = zeros
    packed = tmp_path / "bomb.tar.gz"
    with gzip.open(packed, "wb", 1) as stream:
        stream.write(member.tobuf())
        for _megabyte in range(zeros // 1_000_000):
            stream.write(bytes(1_000_000))
    (tmp_path / "work").mkdir()
    with pytest.raises(InvalidInputError, match="more than"):
        source_archive.unpack(packed, tmp_path / "work", 1_000_000, 10)
    tree_fd = os.open(tmp_path / "work", os.O_RDONLY)
    with packed.open("rb") as stream, pytest.raises(WorkspaceError, match="more than"):
        archive.unpack(stream, tree_fd, limits=plugin_tree.Limits(max_bytes=1_000_000, max_entries=10))
    os.close(tree_fd)
    assert sum(path.stat().st_size for path in (tmp_path / "work").rglob("*") if path.is_file()) <= 1_000_000


@given(st.one_of(st.text(), st.text(st.sampled_from("a.-_/\\\n\x00A1 ")), st.none(), st.integers(), st.binary()))
def test_a_plugin_name_is_one_path_component_that_no_shell_knows(name: object) -> None:
    try:
        checked = names.validate_plugin_name(name)
    except InvalidInputError as error:
        assert "\n" not in str(error)
        return
    assert set(checked) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-") and checked not in (".", "..") and checked[0] not in ".-" and ".." not in checked


@EXAMPLES
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_a_plugin_yaml_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file in ("plugin.yaml", "manifest.json"):
            (pathlib.Path(name) / file).write_bytes(content)
        for read in (
            lambda: manifest.read_manifest(pathlib.Path(name), "the plugin"),
            lambda: manifest.verify_embedded_hashes(pathlib.Path(name), {}, manifest.Manifest(None, None, (), None), "the plugin"),
        ):
            try:
                read()
            except InvalidInputError as error:
                assert "\n" not in str(error)


PLUGIN = {
    "exists": True, "digest": "sha256:" + "0" * 64, "wrong_owner": [], "receipt": None, "receipt_problem": None, "placements": None,
    "entries": {"": plugin_tree.entry("directory", 0o755), "a": plugin_tree.entry("file", 0o644, 1, "0" * 64)}, "has_remains": False,
    "previous": {
        "digest": "sha256:" + "0" * 64, "entries": {"": plugin_tree.entry("directory", 0o755)}, "source": None, "plugin_version": None, "rolled_back": False,
        "problem": None,
    },
}
INSPECTION = {"plugins": {"ecc": PLUGIN}, "unmanaged": [], "other_files": [], "restart_pending": [], "interrupted": [], "transfers": []}
APPLICATION = {
    "plugins": {"ecc": {"changed": True, "digest": None, "removed_placements": [], "kept": []}}, "restart_pending": [], "recovered": [],
    "recovered_placements": {},
}
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.sampled_from(["../x", "sha256:0", "link"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)), max_leaves=8,
)


def test_the_answers_that_are_made_lies_of_are_true() -> None:
    assert workspace_answer.parse_inspection(INSPECTION, ["ecc"]).plugins["ecc"].previous is not None
    assert workspace_answer.parse_application(APPLICATION, ["ecc"]).plugins["ecc"].changed


@st.composite
def lies(draw: typing.Callable[..., typing.Any]) -> object:
    """A true answer with something in it replaced, removed or added."""
    said = json.loads(json.dumps(draw(st.sampled_from([INSPECTION, APPLICATION]))))
    place, last = said, None
    for _depth in range(draw(st.integers(0, 5))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        last = (place, draw(st.sampled_from(keys)))
        place = last[0][last[1]]
    if last is None:
        return draw(JSON)
    if draw(st.booleans()):
        last[0][last[1]] = draw(JSON)
    else:
        del last[0][last[1]]
    return said


@EXAMPLES
@given(lies())
def test_a_lying_workspace_gets_typed_data_or_one_sentence(said: object) -> None:
    for parse in (workspace_answer.parse_inspection, workspace_answer.parse_application):
        try:
            found = parse(said, ["ecc"])
        except WorkspaceError as error:
            assert "cannot be trusted" in str(error) and "\n" not in str(error) and len(str(error)) < 2000
            continue
        assert set(found.plugins) == {"ecc"}
        assert all(names.is_plugin_name(name) for name in getattr(found, "others", {}))


@pytest.mark.parametrize("where", ["unmanaged", "other_files", "restart_pending", "interrupted", "transfers"])
def test_a_gigantic_answer_is_refused(where: str) -> None:
    with pytest.raises(WorkspaceError, match="cannot be trusted .* more than"):
        workspace_answer.parse_inspection({**INSPECTION, where: ["x"] * 300_000}, ["ecc"])


def test_gigantic_entries_are_refused() -> None:
    entries = {str(number): PLUGIN["entries"]["a"] for number in range(300_000)}
    with pytest.raises(WorkspaceError, match="cannot be trusted .* more than"):
        workspace_answer.parse_inspection({**INSPECTION, "plugins": {"ecc": {**PLUGIN, "entries": entries}}}, ["ecc"])
