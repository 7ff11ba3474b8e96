# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Unpack a bundle (one plugin tree as a ``.tar.gz`` of ours) into an open directory.

Bundles are made by the controller and verified by digest afterwards, but they are unpacked as root next to files of an untrusted agent.
So nothing but plain files and directories inside the tree is created, and nothing grows without bound.
"""
from __future__ import annotations

import gzip
import os
import posixpath
import tarfile
import zlib
from typing import BinaryIO, Callable, Iterator

from . import safe_files
from .capped_reader import CHUNK, CappedReader
from .errors import WorkspaceError
from .plugin_tree import DEFAULT_LIMITS, Limits, Owner, normalised_mode
from .printable import printable


def unpack(
    stream: BinaryIO,
    directory_fd: int,
    *,
    owner: Owner | None = None,
    limits: Limits = DEFAULT_LIMITS,
    label: str = "the bundle",
    select: Callable[[str], bool] = lambda _path: True,
) -> None:
    """Create the members of the gzipped tar ``stream`` in the empty directory ``directory_fd``, with normalised modes and the given owner.

    Of the members only those are created whose paths ``select`` accepts; it must accept the directories that they lie in as well.
    The root directory itself gets mode 0755 and the owner too. Raises :class:`WorkspaceError` for a bundle that is refused or damaged, and
    :class:`OSError` with the member's path as ``filename`` when the file system fails; what was created until then stays for the caller to remove.
    """
    _Unpacker(directory_fd, owner, limits, label, select).unpack(stream)


class _Unpacker:
    """One bundle on its way into one directory."""

    def __init__(self, directory_fd: int, owner: Owner | None, limits: Limits, label: str, select: Callable[[str], bool]) -> None:
        self._root_fd = directory_fd
        self._owner = owner
        self._limits = limits
        self._label = label
        self._select = select
        self._seen: set[str] = set()
        self._directories: set[str] = {""}
        self._bytes = 0

    def unpack(self, stream: BinaryIO) -> None:
        self._finish(self._root_fd, 0o755)
        try:
            with gzip.GzipFile(fileobj=stream) as uncompressed:
                reader = CappedReader(uncompressed, self._limits, self._too_large)
                for tar, member in _members(reader):
                    self._unpack_member(tar, member)
                reader.finish()
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeError, ValueError, OverflowError) as error:
            raise WorkspaceError(f"{self._label} is damaged ({error}): run again, so that it is packed and sent anew") from error

    def _unpack_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._checked_path(member)
        if path in self._seen:
            raise self._refused(path, "appears twice")
        self._seen.add(path)
        if len(self._seen) > self._limits.max_entries:
            raise WorkspaceError(f"{self._label} holds more than {self._limits.max_entries} files and directories: nothing of it was installed")
        if not self._select(path):
            return
        if member.isdir():
            with self._parent_of(path) as parent:
                self._make_directory(parent.fd, parent.name, path)
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
            with self._parent_of(path) as parent:
                self._make_file(parent.fd, parent.name, path, tar, member)
        else:
            raise self._refused(path, "is neither a plain file nor a directory")

    def _checked_path(self, member: tarfile.TarInfo) -> str:
        path = member.name
        parts = path.split("/")
        if printable(path) != path:
            raise self._refused(path, "has a name that is not printable UTF-8 text")
        if any(part in ("", ".", "..") for part in parts):
            raise self._refused(path, "is not a plain relative path")
        if self._limits.is_too_deep(path, member.isdir()):
            raise self._refused(path, f"is nested deeper than {self._limits.max_depth} directories")
        return path

    def _parent_of(self, path: str) -> _Parent:
        directory, name = posixpath.split(path)
        if directory not in self._directories:
            raise self._refused(path, "comes without the directory that it lies in")
        return _Parent(self._root_fd, directory.split("/") if directory else [], name)

    def _make_directory(self, parent_fd: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            directory_fd = safe_files.open_subdirectory(parent_fd, name)
            try:
                self._finish(directory_fd, 0o755)
            finally:
                os.close(directory_fd)
        except OSError as error:
            raise _about(path, error) from error
        self._directories.add(path)

    def _make_file(self, parent_fd: int, name: str, path: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        content = tar.extractfile(member)
        if content is None or self._bytes + member.size > self._limits.max_bytes:
            raise WorkspaceError(f"{self._label} holds more than {self._limits.max_bytes} bytes (at {path}): nothing of it was installed")
        try:
            file_fd = safe_files.create_file(parent_fd, name)
        except OSError as error:
            raise _about(path, error) from error
        try:
            while True:
                chunk = content.read(CHUNK)
                if not chunk:
                    break
                self._bytes += len(chunk)
                try:
                    safe_files.write_all(file_fd, chunk)
                except OSError as error:
                    raise _about(path, error) from error
            self._finish(file_fd, normalised_mode(member.mode), path)
        finally:
            os.close(file_fd)

    def _finish(self, file_fd: int, mode: int, path: str = "") -> None:
        """Give owner and mode, in this order: a change of owner takes bits away."""
        try:
            if self._owner is not None:
                os.fchown(file_fd, self._owner[0], self._owner[1])
            os.fchmod(file_fd, mode)
        except OSError as error:
            raise _about(path, error) from error

    def _too_large(self) -> WorkspaceError:
        return WorkspaceError(f"{self._label} expands to more bytes than a plugin may have: nothing of it was installed")

    def _refused(self, path: str, reason: str) -> WorkspaceError:
        return WorkspaceError(f"{self._label} is refused: its member '{printable(path)}' {reason}")


class _Parent:
    """The directory in which a member is to be created, opened step by step without following links."""

    def __init__(self, root_fd: int, parts: list[str], name: str) -> None:
        self.name = name
        self.fd = os.dup(root_fd)
        try:
            for part in parts:
                inner = safe_files.open_subdirectory(self.fd, part)
                os.close(self.fd)
                self.fd = inner
        except OSError:
            os.close(self.fd)
            raise

    def __enter__(self) -> _Parent:
        return self

    def __exit__(self, *unused: object) -> None:
        os.close(self.fd)


def _members(reader: CappedReader) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    # typeshed wants a real file here, tarfile only calls read
    with tarfile.open(fileobj=reader, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
        for member in tar:
            yield tar, member


def _about(path: str, error: OSError) -> OSError:
    """The same error, with the member's path in it: calls on descriptors name no file."""
    return OSError(error.errno, error.strerror, path or "the plugin's directory")
