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
_REMOVAL_ATTEMPTS = 100


class NotSupported(Exception):
    """The kernel or the file system cannot exchange two names; nothing was changed."""


def open_subdirectory(parent_fd: int, name: str) -> int:
    """Open the directory ``name`` in ``parent_fd``, refusing a link; the caller closes it."""
    return os.open(name, OPEN_DIRECTORY, dir_fd=parent_fd)


def make_subdirectory(parent_fd: int, name: str) -> int:
    """Create the directory ``name`` with mode 0700, unless it exists, and open it; the caller closes it."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent_fd)
    return open_subdirectory(parent_fd, name)


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
    still writes into the tree is outrun for a while; then :class:`OSError` (``ENOTEMPTY``).
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
        for attempt in range(_REMOVAL_ATTEMPTS):
            for child in os.listdir(directory_fd):
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
