# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""A second copy of a plugin tree that was described before: new files, which nobody has open or linked elsewhere."""
from __future__ import annotations

import contextlib
import os
from typing import Callable, Iterator

from . import safe_files
from .errors import WorkspaceError
from .plugin_tree import Entries, Owner, normalised_mode, sorted_paths
from .printable import printable

_CHUNK = 1024 * 1024
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_tree(
    source_fd: int, target_fd: int, entries: Entries, owner: Owner | None, *, select: Callable[[str], bool] = lambda _path: True, label: str = "the plugin tree"
) -> None:
    """Copy the files and directories of ``entries``, which describe ``source_fd``, into the empty directory ``target_fd``.

    They get normalised modes and ``owner`` (None: ours). Of each file as many bytes are copied as ``entries`` say, so a file that grows
    meanwhile cannot fill the disk; whoever needs the very same content compares digests afterwards. ``select`` chooses paths, and must accept
    the directories that they lie in as well. Raises :class:`WorkspaceError` for anything but plain files and directories, :class:`OSError`.
    """
    for path in sorted_paths(entries):
        kind = entries[path]["type"]
        if kind not in ("file", "directory"):
            raise WorkspaceError(f"{label} holds '{printable(path)}', which is neither a plain file nor a directory: it is not copied")
        if path == "":
            _finish(target_fd, 0o755, owner)
        elif select(path):
            parts = path.split("/")
            with _opened(source_fd, parts[:-1]) as source_parent_fd, _opened(target_fd, parts[:-1]) as target_parent_fd:
                if kind == "directory":
                    _make_directory(target_parent_fd, parts[-1], owner)
                else:
                    _copy_file(source_parent_fd, target_parent_fd, parts[-1], entries[path]["size"], normalised_mode(entries[path]["mode"]), owner)


def _make_directory(parent_fd: int, name: str, owner: Owner | None) -> None:
    directory_fd = safe_files.make_subdirectory(parent_fd, name)
    try:
        _finish(directory_fd, 0o755, owner)
    finally:
        os.close(directory_fd)


def _copy_file(source_parent_fd: int, target_parent_fd: int, name: str, size: int, mode: int, owner: Owner | None) -> None:
    with contextlib.ExitStack() as stack:
        source_fd = os.open(name, _OPEN_FILE, dir_fd=source_parent_fd)
        stack.callback(os.close, source_fd)
        if owner is not None and not safe_files.agent_may_read(os.fstat(source_fd), owner[0]):
            raise WorkspaceError(f"'{printable(name)}' in what is to be copied can only be read by root, so it is not made the agent's: it is not copied")
        target_fd = safe_files.create_file(target_parent_fd, name)
        stack.callback(os.close, target_fd)
        left = size
        while left > 0:
            chunk = os.read(source_fd, min(_CHUNK, left))
            if not chunk:
                break
            safe_files.write_all(target_fd, chunk)
            left -= len(chunk)
        _finish(target_fd, mode, owner)


def _finish(file_fd: int, mode: int, owner: Owner | None) -> None:
    """Give owner and mode, in this order: a change of owner takes bits away."""
    if owner is not None:
        os.fchown(file_fd, owner[0], owner[1])
    os.fchmod(file_fd, mode)


@contextlib.contextmanager
def _opened(root_fd: int, parts: list[str]) -> Iterator[int]:
    """The directory below ``root_fd``, opened step by step without following links."""
    with contextlib.ExitStack() as stack:
        directory_fd = root_fd
        for part in parts:
            directory_fd = safe_files.open_subdirectory(directory_fd, part)
            stack.callback(os.close, directory_fd)
        yield directory_fd
