# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Files below a directory that somebody untrusted owns, reached through directory descriptors alone.

The agent (uid 1000) may rename, link or replace anything in a config dir while we work there as root. So every step opens one name in an
already opened directory, without following a link; a path is never handed to the kernel a second time.
"""
from __future__ import annotations

import errno
import os
import stat
from typing import List, NamedTuple, Optional, Tuple

from . import safe_files
from .errors import WorkspaceError
from .printable import printable

# A FIFO that is put in a file's place must not make us wait for a writer.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK_BYTES = 1024 * 1024
_MAX_LABEL = 500
_MAX_NAMES = 100000


class LeaveAlone(Exception):
    """Something lies there that is not ours to touch; ``str(error)`` is the reason for the report."""


class OpenedFile(NamedTuple):
    """What was read, and the ``fstat`` of the very file it was read from."""

    content: bytes
    status: os.stat_result


def unreadable(label: str, error: OSError) -> WorkspaceError:
    """Return the error for something that exists but cannot be looked at: unknown is not absent."""
    return WorkspaceError(f"{printable(label, _MAX_LABEL)} on the workspace cannot be read ({error.strerror}): make it readable for root and run again")


def open_directory(parent_fd: int, name: str, label: str) -> Optional[int]:
    """Open the directory ``name`` in ``parent_fd``; the caller closes it. None when there is nothing of that name.

    Raises :class:`LeaveAlone` for a link or anything else that is no directory, :class:`WorkspaceError` when it cannot be read.
    """
    try:
        return safe_files.open_subdirectory(parent_fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise LeaveAlone(f"is {_kind_of(parent_fd, name)}, not a directory") from error
        raise unreadable(label, error) from error


def open_file(parent_fd: int, name: str, label: str) -> Optional[Tuple[int, os.stat_result]]:
    """Open the regular file ``name`` in ``parent_fd``; the caller closes it. None when there is nothing of that name.

    Raises :class:`LeaveAlone` for anything but a regular file, :class:`WorkspaceError` when it cannot be read.
    """
    try:
        before = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not stat.S_ISREG(before.st_mode):
            raise LeaveAlone(f"is {_description(before.st_mode)}, not a file")
        file_fd = os.open(name, _OPEN_FILE, dir_fd=parent_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LeaveAlone("is a symbolic link, not a file") from error
        raise unreadable(label, error) from error
    status = os.fstat(file_fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(file_fd)
        raise LeaveAlone(f"is {_description(status.st_mode)}, not a file")
    return file_fd, status


def read_file(parent_fd: int, name: str, label: str, limit: int) -> Optional[OpenedFile]:
    """Read the regular file ``name`` whole. None when there is nothing of that name.

    Raises :class:`LeaveAlone` for anything but a regular file or for more than ``limit`` bytes, :class:`WorkspaceError` when it cannot be read.
    """
    opened = open_file(parent_fd, name, label)
    if opened is None:
        return None
    file_fd, status = opened
    content = bytearray()
    try:
        while len(content) <= limit:
            chunk = os.read(file_fd, min(_CHUNK_BYTES, limit + 1 - len(content)))
            if not chunk:
                return OpenedFile(bytes(content), status)
            content += chunk
    except OSError as error:
        raise unreadable(label, error) from error
    finally:
        os.close(file_fd)
    raise LeaveAlone(f"is larger than {limit} bytes")


def equal_files(first_fd: int, second_fd: int) -> bool:
    """Compare two opened files byte by byte from where they stand. Raises OSError."""
    with os.fdopen(os.dup(first_fd), "rb") as first, os.fdopen(os.dup(second_fd), "rb") as second:
        while True:
            chunk = first.read(_CHUNK_BYTES)
            if chunk != second.read(_CHUNK_BYTES):
                return False
            if not chunk:
                return True


def list_directory(directory_fd: int, label: str) -> List[str]:
    """Return the names in the directory, sorted.

    Raises :class:`WorkspaceError` when it cannot be read, :class:`LeaveAlone` when it holds more than we care to look at.
    """
    try:
        names = safe_files.list_names(directory_fd, _MAX_NAMES + 1)
    except OSError as error:
        raise unreadable(label, error) from error
    if len(names) > _MAX_NAMES:
        raise LeaveAlone(f"holds more than {_MAX_NAMES} names")
    return sorted(names)


def is_directory(parent_fd: int, name: str) -> bool:
    """Tell whether ``name`` is a directory itself (a link to one is not)."""
    return _has_type(parent_fd, name, stat.S_IFDIR)


def is_file(parent_fd: int, name: str) -> bool:
    """Tell whether ``name`` is a regular file itself (a link to one is not)."""
    return _has_type(parent_fd, name, stat.S_IFREG)


def remove_file(parent_fd: int, name: str, label: str) -> None:
    """Remove the name, durably; nothing of that name is fine too. Raises :class:`WorkspaceError` when the file system refuses."""
    try:
        os.unlink(name, dir_fd=parent_fd)
        sync_directory(parent_fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _not_removable(label, error) from error


def remove_directory_if_empty(parent_fd: int, name: str, label: str) -> None:
    """Remove the directory ``name`` unless it is not empty, not a directory, or in use as a mount point; durably.

    Raises :class:`WorkspaceError` when the file system refuses for another reason.
    """
    try:
        os.rmdir(name, dir_fd=parent_fd)
        sync_directory(parent_fd)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY):
            raise _not_removable(label, error) from error


def sync_directory(directory_fd: int) -> None:
    """Make the directory's names durable, where its file system can do that."""
    try:
        os.fsync(directory_fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def replace_file(parent_fd: int, name: str, content: bytes, read_from: os.stat_result, staging_fd: int) -> bool:
    """Put ``content`` in the place of the file that was read, atomically, with its owner and permissions; False when it changed since.

    The new file is written in ``staging_fd`` (a directory of ours on the same file system) and renamed over the old name, so a
    reader sees the old text or the new one. Set-id bits are not carried over. Raises OSError when the file system refuses.
    """
    temporary = f"placements-{os.urandom(8).hex()}"
    file_fd = safe_files.create_file(staging_fd, temporary)
    renamed = False
    try:
        try:
            safe_files.write_all(file_fd, content)
            os.fchown(file_fd, read_from.st_uid, read_from.st_gid)
            os.fchmod(file_fd, stat.S_IMODE(read_from.st_mode) & 0o777)
            os.fsync(file_fd)
        finally:
            os.close(file_fd)
        if not unchanged(parent_fd, name, read_from):
            return False
        safe_files.rename(staging_fd, temporary, parent_fd, name)
        renamed = True
        sync_directory(parent_fd)
        return True
    finally:
        if not renamed:
            os.unlink(temporary, dir_fd=staging_fd)


def unchanged(parent_fd: int, name: str, read_from: os.stat_result) -> bool:
    """Tell whether ``name`` is still the file, with the content, that ``read_from`` was taken from."""
    now = _status(parent_fd, name)
    return now is not None and all(
        getattr(now, field) == getattr(read_from, field) for field in ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    )


def exists(parent_fd: int, name: str) -> bool:
    """Tell whether there is anything of that name, a dangling link included."""
    return _status(parent_fd, name) is not None


def _not_removable(label: str, error: OSError) -> WorkspaceError:
    return WorkspaceError(f"{printable(label, _MAX_LABEL)} on the workspace cannot be removed ({error.strerror}): remove it by hand and run again")


def _status(parent_fd: int, name: str) -> Optional[os.stat_result]:
    try:
        return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(name, error) from error


def _has_type(parent_fd: int, name: str, file_type: int) -> bool:
    status = _status(parent_fd, name)
    return status is not None and stat.S_IFMT(status.st_mode) == file_type


def _kind_of(parent_fd: int, name: str) -> str:
    status = _status(parent_fd, name)
    return "something else" if status is None else _description(status.st_mode)


def _description(mode: int) -> str:
    """Name a file's type in words."""
    for test, words in ((stat.S_ISLNK, "a symbolic link"), (stat.S_ISDIR, "a directory"), (stat.S_ISREG, "a regular file")):
        if test(mode):
            return words
    return "a special file"
