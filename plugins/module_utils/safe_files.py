# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Changing files below directories that somebody untrusted owns: by directory descriptors, never following a link, durable where it counts.

The reading side lies in ``directory_files``. All functions raise :class:`OSError`; who calls them knows what the failure means for the user.
"""
from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from typing import Any, Callable

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
# Numbers of renameat2 where the C library has no function for it (musl, glibc before 2.28); valid for 64-bit processes only.
_RENAMEAT2_NUMBERS = {"x86_64": 316, "aarch64": 276}
# What kernels, file systems and system call filters answer that do not know renameat2 or its flags.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
_REMOVAL_DEPTH = 32
# Passes over one directory, and names per pass.
_REMOVAL_ATTEMPTS = 1000
_REMOVAL_BATCH = 10000


class NotSupported(Exception):
    """The kernel or the file system cannot exchange two names; nothing was changed."""


def open_subdirectory(parent_fd: int, name: str) -> int:
    """Open the directory ``name`` in ``parent_fd``, refusing a link; the caller closes it."""
    return os.open(name, OPEN_DIRECTORY, dir_fd=parent_fd)


def open_real_path(path: str) -> int:
    """Open the directory at the absolute, normalised ``path``, refusing a link at every step of it; the caller closes it.

    A step may lie in a directory of the agent's, where a link would lead wherever the agent wants.
    """
    directory_fd = os.open("/", OPEN_DIRECTORY)
    for part in path.strip("/").split("/"):
        try:
            inner_fd = open_subdirectory(directory_fd, part)
        finally:
            os.close(directory_fd)
        directory_fd = inner_fd
    return directory_fd


def list_names(directory_fd: int, limit: int) -> list[str]:
    """The names in a directory, unsorted, at most ``limit`` of them: whoever owns it may have filled it with millions."""
    names: list[str] = []
    with os.scandir(directory_fd) as entries:
        for entry in entries:
            if len(names) == limit:
                break
            names.append(entry.name)
    return names


def mount_id(directory_fd: int) -> str:
    """What tells one mount from another, also when a directory is mounted over another one of the same file system."""
    try:
        with open(f"/proc/self/fdinfo/{directory_fd}", encoding="ascii") as info:
            found = [line.split()[1] for line in info if line.startswith("mnt_id:")]
    except OSError:
        found = []
    return found[0] if found else f"device {os.fstat(directory_fd).st_dev}"


def make_subdirectory(parent_fd: int, name: str) -> int:
    """Create the directory ``name`` with mode 0700, unless it exists, and open it; the caller closes it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    return open_subdirectory(parent_fd, name)


def agent_may_read(status: os.stat_result, agent_uid: int) -> bool:
    """Whether the agent could read the file itself. One that only root can read is in its directory by a hard link or because it was moved there."""
    return status.st_uid == agent_uid or bool(status.st_mode & stat.S_IROTH)


def exists(parent_fd: int, name: str) -> bool:
    """Whether there is anything of that name, a dangling link included."""
    try:
        os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def create_file(parent_fd: int, name: str) -> int:
    """Create the file ``name``, which must not exist, with mode 0600 and open it for writing; the caller closes it."""
    return os.open(name, _CREATE_FILE, 0o600, dir_fd=parent_fd)


def write_all(file_fd: int, data: bytes) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        view = view[os.write(file_fd, view):]


def write_file(parent_fd: int, name: str, data: bytes) -> None:
    """Put a file with this content and mode 0600 at ``name``: readers see the old file or the new one, also after a power failure."""
    temporary = name + ".new"
    remove_tree(parent_fd, temporary)
    file_fd = create_file(parent_fd, temporary)
    try:
        write_all(file_fd, data)
        os.fsync(file_fd)
    finally:
        os.close(file_fd)
    rename(parent_fd, temporary, parent_fd, name)
    os.fsync(parent_fd)


def rename(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename; an existing file at the target is replaced."""
    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def rename_to_absent(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename to a name that must not exist (:class:`FileExistsError`)."""
    try:
        _renameat2(source_fd, source, target_fd, target, _RENAME_NOREPLACE)
    except NotSupported:
        if exists(target_fd, target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
        rename(source_fd, source, target_fd, target)


def exchange(first_fd: int, first: str, second_fd: int, second: str) -> None:
    """Let two names swap what they name, in one step. Raises :class:`NotSupported` where that is impossible."""
    _renameat2(first_fd, first, second_fd, second, _RENAME_EXCHANGE)


def remove_tree(parent_fd: int, name: str) -> None:
    """Remove whatever is at ``name``, if anything: a directory with all that is in it, a file, a link itself.

    Trees may be nested deeper than descriptors and recursion allow, so what is too deep is first moved up to ``parent_fd``. Something that
    still writes into the tree is outrun for a while; then :class:`OSError` (``ENOTEMPTY``). What is mounted in the tree is somebody else's and
    not entered: :class:`OSError` (``EBUSY``).
    """
    pending = [name]
    while pending:
        _remove(parent_fd, parent_fd, pending.pop(), 0, pending)


def sync_file_system(directory_fd: int) -> None:
    """Bring all that was written to the directory's file system to the disk."""
    function = _c_function("syncfs")
    if function is None:
        os.sync()
    elif function(directory_fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _remove(base_fd: int, parent_fd: int, name: str, depth: int, pending: list[str]) -> None:
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent_fd)
            return
        if depth > _REMOVAL_DEPTH:
            # No plugin can have this name, so it is nobody's staging directory even if we die here.
            shallow = ".deep-" + os.urandom(8).hex()
            rename(parent_fd, name, base_fd, shallow)
            pending.append(shallow)
            return
        directory_fd = open_subdirectory(parent_fd, name)
    except FileNotFoundError:
        return
    try:
        if mount_id(directory_fd) != mount_id(parent_fd):
            raise OSError(errno.EBUSY, "something is mounted there, unmount it first", name)
        for attempt in range(_REMOVAL_ATTEMPTS):
            for child in list_names(directory_fd, _REMOVAL_BATCH):
                _remove(base_fd, directory_fd, child, depth + 1, pending)
            try:
                os.rmdir(name, dir_fd=parent_fd)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or attempt == _REMOVAL_ATTEMPTS - 1:
                    raise
    finally:
        os.close(directory_fd)


def _renameat2(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
    function, leading = _renameat2_function()
    if function is None:
        raise NotSupported("no renameat2")
    if function(*leading, source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags) != 0:
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            raise NotSupported(os.strerror(number))
        raise OSError(number, os.strerror(number), target)


def _renameat2_function() -> tuple[Callable[..., int] | None, tuple[Any, ...]]:
    """The function to call and the arguments that come first (the number, for a bare system call)."""
    function = _c_function("renameat2")
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        return function, ()
    number = _RENAMEAT2_NUMBERS.get(os.uname().machine)
    function = _c_function("syscall")
    if number is None or function is None or struct.calcsize("P") != 8:
        return None, ()
    function.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function, (number,)


def _c_function(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of the C library, or None where there is none of that name."""
    try:
        return ctypes.CDLL(None, use_errno=True)[name]
    except (OSError, AttributeError):
        return None
