# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpack an archive that a user gave as a source, on the controller, into a private directory.

The archive is read once, as a stream. Nothing but directories and regular files inside the tree is ever created.
"""
from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO

from ..module_utils.capped_reader import CHUNK, CappedReader
from ..module_utils.errors import InvalidInputError
from ..module_utils.plugin_tree import Limits, is_never_shipped

_MANIFEST = "plugin.yaml"


def unpack(archive: Path, workspace: Path, max_bytes: int, max_entries: int, content: Path | None = None) -> Path:
    """Unpack ``archive`` below ``workspace`` and return the plugin's root in it.

    The root is the archive's root if ``plugin.yaml`` lies there (as in the platform's downloads), otherwise its only top-level
    directory (as in the archives of git servers). ``content`` is read instead of ``archive``: a copy that was verified.
    Raises :class:`InvalidInputError` for whatever is no plain tree within the caps.
    """
    root = workspace / "archive"
    root.mkdir()
    try:
        with (content or archive).open("rb") as raw, gzip.GzipFile(fileobj=raw) as uncompressed:
            stream = CappedReader(uncompressed, Limits(max_bytes=max_bytes, max_entries=max_entries), lambda: _too_large(archive))
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload] # as in archive
                _unpack_members(tar, root, archive, max_bytes, max_entries)
            stream.finish()
    # Numbers and names in a damaged header end as errors of the other kinds.
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"archive {archive} cannot be unpacked: {error}") from error
    return _plugin_root(root)


def _too_large(archive: Path) -> InvalidInputError:
    return InvalidInputError(f"archive {archive} expands to more than a plugin may have: raise max_bytes if that is meant")


def _unpack_members(tar: tarfile.TarFile, root: Path, archive: Path, max_bytes: int, max_entries: int) -> None:
    total = 0
    entries: dict[str, bool] = {}
    for member in tar:
        path = _member_path(member, archive)
        if path == "" or is_never_shipped(path):
            continue
        if not member.isdir() and (not member.isreg() or member.issparse()):
            raise InvalidInputError(f"archive {archive} contains {path!r}, which is {_kind(member)}: only directories and regular files are allowed")
        if path in entries and not (member.isdir() and entries[path]):
            raise InvalidInputError(f"archive {archive} contains {path!r} twice: pack it again")
        entries[path] = member.isdir()
        if len(entries) > max_entries:
            raise InvalidInputError(f"archive {archive} has more than {max_entries} entries")
        destination = root / path
        if member.isdir():
            destination.mkdir(parents=True, exist_ok=True)
            continue
        total += member.size
        if total > max_bytes:
            raise InvalidInputError(f"archive {archive} has more than {max_bytes} bytes of files: raise max_bytes if that is meant")
        content = tar.extractfile(member)
        if content is None:
            raise InvalidInputError(f"archive {archive} has no content for {path!r}")
        destination.parent.mkdir(parents=True, exist_ok=True)
        write_file(destination, content, member.size, executable=bool(member.mode & 0o100))


def write_file(destination: Path, content: IO[bytes], size: int, executable: bool) -> None:
    """Create ``destination`` from the next ``size`` bytes of ``content``; raises ``EOFError`` when there are fewer."""
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        left = size
        while left:
            block = content.read(min(left, CHUNK))
            if not block:
                raise EOFError(f"{destination.name} ends {left} bytes early")
            file.write(block)
            left -= len(block)
        os.fchmod(file.fileno(), 0o755 if executable else 0o644)


def _member_path(member: tarfile.TarInfo, archive: Path) -> str:
    """Return the member's path relative to the archive's root ("" for the root itself)."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    try:
        member.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"archive {archive} contains the name {member.name!r}, which is not UTF-8") from error
    if member.name.startswith("/") or ".." in parts:
        raise InvalidInputError(f"archive {archive} contains {member.name!r}, which points outside of the archive")
    return "/".join(parts)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return "a symbolic link"
    if member.islnk():
        return "a hard link"
    return "a special file"


def _plugin_root(root: Path) -> Path:
    if (root / _MANIFEST).exists():
        return root
    children = list(root.iterdir())
    if len(children) == 1 and (children[0] / _MANIFEST).is_file():
        return children[0]
    return root
