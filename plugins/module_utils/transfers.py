# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the controller sends to a workspace, taken in piece by piece into a directory that is ours alone.

Ansible's own way of sending a file goes by path, as root, twice: to write it and to remove its directory. Below a config dir that would be
in the agent's hands, who may put a link in the place of any directory there. So bytes come attached to a request and go to an open descriptor.
"""
from __future__ import annotations

import contextlib
import os
import time
from typing import BinaryIO, Iterable, Iterator

from . import safe_files, transfer_ids
from .errors import WorkspaceError

DIRECTORY = "incoming"
MAX_NAMES = 1000
"""Of transfers that are told, or given to be removed, at a time."""

# Seconds. Nobody waits longer than a day for the lock, so whoever sent this is not waiting any more.
_ABANDONED_AFTER = 2 * 86400
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def receive(state_fd: int, transfer: str, offset: int, piece: bytes, label: str) -> int:
    """Append a piece to the transfer, of which ``offset`` bytes are here already, and return its new size.

    Raises :class:`WorkspaceError` when that is not so or the file system refuses; then nothing of the transfer stays. ``label`` is the config dir.
    """
    with _directory(state_fd) as incoming_fd:
        try:
            file_fd = safe_files.create_file(incoming_fd, transfer) if offset == 0 else os.open(transfer, _APPEND, dir_fd=incoming_fd)
            try:
                if os.fstat(file_fd).st_size != offset:
                    _remove(incoming_fd, transfer)
                    raise WorkspaceError(f"a piece of what was sent to {label}/.molecule_ai/{DIRECTORY} was lost: nothing was changed, run again")
                safe_files.write_all(file_fd, piece)
            finally:
                os.close(file_fd)
        except OSError as error:
            _remove(incoming_fd, transfer)
            raise WorkspaceError(
                f"the workspace cannot take in the plugins that are sent to {label}/.molecule_ai/{DIRECTORY} ({error.strerror}): "
                "nothing was changed; make room there and run again"
            ) from error
    return offset + len(piece)


@contextlib.contextmanager
def received(state_fd: int, transfer: str) -> Iterator[BinaryIO]:
    """The transfer, open for reading; afterwards it is gone. Raises :class:`WorkspaceError`."""
    with _directory(state_fd) as incoming_fd:
        try:
            file_fd = os.open(transfer, _READ, dir_fd=incoming_fd)
        except FileNotFoundError as error:
            raise WorkspaceError("what was sent to the workspace is not there any more: nothing was changed, run again") from error
        try:
            with os.fdopen(file_fd, "rb") as file:
                yield file
        finally:
            _remove(incoming_fd, transfer)


def with_senders(state_fd: int) -> list[str]:
    """The transfers that say who sends them, some of them where there are very many: those who have sent them know which of them have ended."""
    try:
        incoming_fd = safe_files.open_subdirectory(state_fd, DIRECTORY)
    except FileNotFoundError:
        return []
    try:
        return sorted(name for name in safe_files.list_names(incoming_fd, MAX_NAMES) if transfer_ids.sender_of(name))
    finally:
        os.close(incoming_fd)


def remove_abandoned(state_fd: int, abandoned: Iterable[str]) -> None:
    """Remove what killed runs have sent and never used: what is known as ``abandoned``, and what nobody can be waiting with any more."""
    if not safe_files.exists(state_fd, DIRECTORY):
        return
    with contextlib.suppress(OSError), _directory(state_fd) as incoming_fd:
        for name in abandoned:
            _remove(incoming_fd, name)
        for name in os.listdir(incoming_fd):
            if time.time() - os.stat(name, dir_fd=incoming_fd, follow_symlinks=False).st_mtime > _ABANDONED_AFTER:
                safe_files.remove_tree(incoming_fd, name)


@contextlib.contextmanager
def _directory(state_fd: int) -> Iterator[int]:
    incoming_fd = safe_files.make_subdirectory(state_fd, DIRECTORY)
    try:
        yield incoming_fd
    finally:
        os.close(incoming_fd)


def _remove(incoming_fd: int, transfer: str) -> None:
    """Remove the transfer; what cannot be removed now is abandoned."""
    with contextlib.suppress(OSError):
        safe_files.remove_tree(incoming_fd, transfer)
