# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is fuzzed: functions from bytes to nothing, which raise what is a defect, and the bytes to begin with.

A refusal (``WorkspaceError`` and what its callers turn into one) is the expected answer. Anything else that is raised, a hang, memory
without bound, and any file touched outside of the scratch directory are defects.
"""
from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
import typing

from ansible_collections.molecule_ai.workspace.plugins.module_utils import archive, placed_settings, placed_text, plugin_tree
from ansible_collections.molecule_ai.workspace.plugins.module_utils.directory_files import LeaveAlone
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import manifest, source_archive, workspace_answer

LIMITS = plugin_tree.Limits(max_bytes=1 << 20, max_entries=200, max_depth=16)
_SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-", dir=os.environ.get("FUZZ_SCRATCH") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)))
_SEPARATOR = b"\x00\xff\x00"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_watching = False


def _watch(event: str, arguments: tuple[typing.Any, ...]) -> None:
    """Refuse whatever changes a file outside of the scratch directory: paths are absolute only by mistake, and never lead upwards."""
    if not _watching or event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.utime"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
        return
    for path in (os.fsdecode(argument) for argument in arguments if isinstance(argument, (str, bytes, os.PathLike))):
        if ".." in path.split("/") or (path.startswith("/") and not path.startswith(f"{_SCRATCH}/")):
            raise AssertionError(f"{event} outside of the scratch directory: {path!r}")


sys.addaudithook(_watch)


@contextlib.contextmanager
def _scratch() -> typing.Iterator[pathlib.Path]:
    """An empty directory; all changes elsewhere are refused meanwhile."""
    global _watching
    directory = _SCRATCH / "work"
    directory.mkdir()
    _watching = True
    try:
        yield directory
    finally:
        _watching = False
        shutil.rmtree(directory)
        assert os.listdir(_SCRATCH) == [], "something lies beside the scratch directory"


def _packed(data: bytes) -> bytes:
    """Half of the inputs are the tar itself, so that not all of the time is spent on gzip's checksum."""
    return gzip.compress(data[1:], 0) if data[:1] < b"\x80" else data[1:]


def _require_plain_tree(directory_fd: int) -> None:
    found = plugin_tree.scan(directory_fd, limits=LIMITS, ignore=None).entries
    assert {entry["type"] for entry in found.values()} <= {"file", "directory"}
    assert {entry["mode"] for path, entry in found.items()} <= {0o755, 0o644}


def bundle(data: bytes) -> None:
    """The workspace unpacks a bundle."""
    with _scratch() as directory:
        directory_fd = os.open(directory, os.O_RDONLY)
        try:
            archive.unpack(io.BytesIO(_packed(data)), directory_fd, limits=LIMITS)
            _require_plain_tree(directory_fd)
        except WorkspaceError:
            pass
        except OSError as error:  # apply makes a sentence of it
            if error.errno not in (errno.ENAMETOOLONG, errno.EEXIST):
                raise
        finally:
            os.close(directory_fd)


def source(data: bytes) -> None:
    """The controller unpacks an archive that a user gave."""
    with _scratch() as directory:
        packed = directory / "source.tar.gz"
        packed.write_bytes(_packed(data))
        (directory / "workspace").mkdir()
        try:
            root = source_archive.unpack(packed, directory / "workspace", LIMITS.max_bytes, LIMITS.max_entries)
        except WorkspaceError:
            return
        assert root.is_relative_to(directory / "workspace" / "archive")
        for path in root.rglob("*"):
            assert not path.is_symlink() and (path.is_dir() or path.is_file())


def plugin_yaml(data: bytes) -> None:
    """The controller reads plugin.yaml."""
    with _scratch() as directory:
        (directory / "plugin.yaml").write_bytes(data)
        with contextlib.suppress(WorkspaceError):
            found = manifest.read_manifest(directory, "the plugin")
            assert all(isinstance(runtime, str) for runtime in found.runtimes)
            manifest.require_supported_runtime("p", found.runtimes, "claude-code")


def manifest_json(data: bytes) -> None:
    """The controller reads manifest.json."""
    with _scratch() as directory:
        (directory / "manifest.json").write_bytes(data)
        with contextlib.suppress(WorkspaceError):
            manifest.verify_embedded_hashes(directory, {}, manifest.Manifest(None, None, (), None), "the plugin")


def settings(data: bytes) -> None:
    """The workspace takes a fragment out of settings that the agent wrote, beside another plugin's fragment."""
    parts = (data.split(_SEPARATOR) + [b"", b""])[:3]
    try:
        fragments = [placed_settings.parse_fragment(part.decode("utf-8")) for part in parts[1:]]
        found, style = placed_settings.parse(parts[0].decode("utf-8"))
        others = {} if fragments[1] is None else {"other": fragments[1]}
        removal = placed_settings.remove_fragment(found, fragments[0] or {}, ["/configs/.claude"], others)
        written = placed_settings.serialise(removal.settings, style)
    except (UnicodeDecodeError, placed_settings.UnusableSettings, RecursionError):
        return
    assert placed_settings.parse(written.decode("utf-8"))[0] == removal.settings, "what is written is not what was meant"


def text(data: bytes) -> None:
    """The workspace cuts a plugin's text out of a memory file that the agent wrote."""
    memory, rule = (data.split(_SEPARATOR) + [b""])[:2]
    content = rule.decode("utf-8", "surrogateescape")
    before = memory.decode("utf-8", "surrogateescape")
    with contextlib.suppress(LeaveAlone):
        cut = placed_text.cut_blocks(before, "p", lambda header: [content] if header.endswith(".md") else [])
        assert len(cut.text) <= len(before) and (cut.removed or cut.text == before)
        for header in cut.removed:
            placed_text.split_header(header)


def answer(data: bytes) -> None:
    """The controller reads what a workspace answers."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    for parse in (
        lambda: workspace_answer.parse_inspection(said, ["ecc"]),
        lambda: workspace_answer.parse_application(said, ["ecc"]),
        lambda: workspace_answer.parse_texts(said),
        lambda: workspace_answer.parse_size(said),
    ):
        with contextlib.suppress(WorkspaceError):
            parse()


def _tar(*members: tarfile.TarInfo, options: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=options) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return packed.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "", pax: typing.Mapping[str, str] | None = None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname, member.pax_headers = kind, size, target, dict(pax or {})
    return member


def _archives() -> list[bytes]:
    directory = _member("rules", tarfile.DIRTYPE)
    tars = [
        _tar(directory, _member("rules/one.md", size=5), _member("plugin.yaml", size=600)),
        _tar(_member("../outside", size=1)), _tar(_member("/outside", size=1)), _tar(_member("link", tarfile.SYMTYPE, target="/etc/passwd")),
        _tar(_member("hard", tarfile.LNKTYPE, target="../x")), _tar(_member("device", tarfile.CHRTYPE)), _tar(_member("pipe", tarfile.FIFOTYPE)),
        _tar(_member("sparse", tarfile.GNUTYPE_SPARSE, size=512), options=tarfile.GNU_FORMAT), _tar(_member("a", size=1), _member("a", size=1)),
        _tar(_member("a" * 200 + "/" + "b" * 200, size=3)), _tar(_member("a" * 300, size=3), options=tarfile.GNU_FORMAT),
        _tar(_member("new\nline\x1b", size=1)), _tar(_member("pax", size=1, pax={"GNU.sparse.size": "99999999999", "size": "-1", "path": "../x"})),
    ]
    return [b"\x00" + packed for packed in tars] + [b"\xff" + gzip.compress(tars[0]), b"\xff" + gzip.compress(tars[0])[:-3]]


def _answers() -> list[bytes]:
    placements = {"removed": ["a"], "kept": [{"path": "a", "reason": "b"}]}
    entries = {"": plugin_tree.entry("directory", 0o755), "a": plugin_tree.entry("file", 0o644, 1, "0" * 64), "l": plugin_tree.entry("link", 0o777, target="x")}
    plugin = {
        "exists": True, "digest": "sha256:" + "0" * 64, "wrong_owner": ["a"], "entries": entries, "receipt": {"digest": None}, "receipt_problem": None,
        "placements": placements, "has_remains": False,
        "previous": {"digest": "sha256:1", "entries": entries, "source": None, "plugin_version": None, "rolled_back": False, "problem": None},
    }
    inspection = {
        "plugins": {"ecc": plugin, "other": plugin}, "unmanaged": ["other", "../x", "f"], "other_files": ["f"], "restart_pending": ["ecc"], "interrupted": [],
        "transfers": [],
    }
    applied = {"changed": True, "previous_digest": None, "digest": None, "removed_placements": ["a"], "kept": []}
    application = {"plugins": {"ecc": applied}, "restart_pending": [], "recovered": ["x"], "recovered_placements": {"ecc": placements}}
    # What is not understood as it is would only show how the first check refuses it.
    workspace_answer.parse_inspection(inspection, ["ecc"])
    workspace_answer.parse_application(application, ["ecc"])
    texts = {"files": [{"plugin": "ecc", "path": "a", "text": "b"}], "size": 1}
    workspace_answer.parse_texts(texts)
    return [json.dumps(said).encode() for said in (inspection, application, texts, [], None, {"plugins": {"ecc": 1}})]


_FRAGMENT = b'{"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "${CLAUDE_DIR}/hooks/x.sh"}]}]}, "env": {"X": "1"}}'
_HEADER = b"# Plugin: p / rule: one.md"

# Name -> (function, bytes to begin with).
TARGETS: dict[str, tuple[typing.Callable[[bytes], None], typing.Callable[[], list[bytes]]]] = {
    "bundle": (bundle, _archives),
    "source": (source, _archives),
    "plugin_yaml": (
        plugin_yaml,
        lambda: [b"name: a\nversion: 1.0\nruntimes: [claude_code]\n", b"a: &a [*a, *a]\n", b"<<: {x: 1}\n? [a]\n: 2001-01-01\n", b"!!python/object:x {}"],
    ),
    "manifest_json": (manifest_json, lambda: [b'{"sha256": "' + b"0" * 64 + b'"}', b'{"sha256": 1}', b"[" * 500, b'{"a": NaN, "b": 1e999}']),
    "settings": (settings, lambda: [_FRAGMENT.replace(b"${CLAUDE_DIR}", b"/configs/.claude") + _SEPARATOR + _FRAGMENT + _SEPARATOR + _FRAGMENT, b"{}"]),
    "text": (text, lambda: [b"mine\n" + _HEADER + b"\n\n# One\n\nmore\n" + _SEPARATOR + b"# One\n", _HEADER + b"\r\n" + _SEPARATOR + _HEADER]),
    "answer": (answer, _answers),
}


def remove_scratch() -> None:
    """At the end."""
    shutil.rmtree(_SCRATCH, ignore_errors=True)
