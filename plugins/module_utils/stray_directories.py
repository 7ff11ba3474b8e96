# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Directories below ``plugins`` whose names no plugin can have: the runtime loads them all the same, dot directories too.

They have no slot and no receipt of their own name, since their names may be anything. They are found by listing ``plugins``, never by a name that
somebody sent: a request can only choose among what is there.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from typing import Any, Collection, Mapping, Sequence

from . import placements, receipts, safe_files
from .names import is_plugin_name
from .plugin_slot import open_other_plugins, open_plugin
from .printable import printable
from .workspace_directories import WorkspaceDirectories

_RECEIPT_PREFIX = "unnamed-"


def find(directories: WorkspaceDirectories) -> list[str]:
    """Names of the directories, and of the links that may lead to one, sorted. Raises :class:`OSError`."""
    if directories.plugins_fd is None:
        return []
    names = [name for name in os.listdir(directories.plugins_fd) if not is_plugin_name(name)]
    return sorted(name for name in names if is_loaded(directories.plugins_fd, name))


def predict(directories: WorkspaceDirectories, name: str, claude_directories: Sequence[str]) -> dict[str, Any]:
    """What removing the directory would make of its placements: ``{"removed", "kept"}``."""
    return _remove_placements(directories, name, claude_directories, dry_run=True)


def remove(directories: WorkspaceDirectories, chosen: Collection[str], claude_directories: Sequence[str], job: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Remove those whose :func:`printable` name is ``chosen``; the caller holds the lock. Returns ``{"removed", "kept"}`` by printable name.

    The order survives a death at any point: that a restart is due is noted first, and as long as the directory is there, the next run does all of it
    again. From ``plugins`` it goes in one step. Raises :class:`WorkspaceError` and :class:`OSError`.
    """
    results: dict[str, dict[str, Any]] = {}
    plugins_fd, staging_fd, receipts_fd = directories.plugins_fd, directories.staging_fd, directories.receipts_fd
    if plugins_fd is None or staging_fd is None or receipts_fd is None:
        return results
    for name in find(directories):
        if printable(name) not in chosen:
            continue
        receipts.write(receipts_fd, receipts.make(_receipt_name(name), "absent", None, None, None, job))
        results[printable(name)] = _remove_placements(directories, name, claude_directories, dry_run=False)
        # No plugin can have this name, so recovery clears it if we die here.
        gone = ".unnamed-" + secrets.token_hex(8)
        safe_files.rename(plugins_fd, name, staging_fd, gone)
        os.fsync(plugins_fd)
        safe_files.remove_tree(staging_fd, gone)
    return results


def is_loaded(plugins_fd: int | None, name: str) -> bool:
    """Whether the runtime may load ``name``: it is a directory, or a link that may lead to one. Any other file below ``plugins`` is nothing to it."""
    try:
        mode = os.stat(name, dir_fd=plugins_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _receipt_name(name: str) -> str:
    """A name that a plugin may have, for the receipt that a restart is due."""
    return _RECEIPT_PREFIX + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _remove_placements(directories: WorkspaceDirectories, name: str, claude_directories: Sequence[str], dry_run: bool) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        plugin_fd = open_plugin(directories.plugins_fd, name, stack)
        if plugin_fd is None or directories.plugins_fd is None:
            return {"removed": [], "kept": []}
        return placements.find_and_remove(
            directories.config_fd,
            plugin_fd,
            name,
            claude_directories,
            None if dry_run else directories.staging_fd,
            other_plugin_fds=open_other_plugins(directories.plugins_fd, name, stack),
            dry_run=dry_run,
        )
