# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Directories below ``plugins`` whose names no plugin can have: the runtime loads them all the same, dot directories too.

They have no slot and no receipt of their own name, since their names may be anything. They are found by listing ``plugins``, never by a name that
somebody sent: a request can only choose among what is there. What is taken out of ``plugins`` is kept in ``modified``, because a person may have
put it there: all that one run has taken, and the latest of what runs before have.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from typing import Any, Collection, Mapping, Sequence

from . import placements, plugin_store, receipts, safe_files
from .errors import ConflictError
from .names import is_plugin_name
from .plugin_slot import open_other_plugins, open_plugin
from .plugin_tree import Limits, Owner
from .printable import printable
from .workspace_directories import WorkspaceDirectories

_PREFIX = "unnamed-"
# No plugin can have such a name, so it is neither what a repair keeps nor what recovery takes for a slot.
_KEPT_PREFIX = "." + _PREFIX
_MAX_KEPT = 20
_MAX_READABLE = 64


def find(directories: WorkspaceDirectories) -> list[str]:
    """Names of the directories, and of the links that may lead to one, sorted. Raises :class:`OSError`."""
    if directories.plugins_fd is None:
        return []
    names = [name for name in os.listdir(directories.plugins_fd) if not is_plugin_name(name)]
    return sorted(name for name in names if is_loaded(directories.plugins_fd, name))


def predict(directories: WorkspaceDirectories, name: str, claude_directories: Sequence[str], changed_before: Collection[str]) -> dict[str, Any]:
    """What removing the directory would make of its placements: ``{"removed", "kept"}``. Plugins ``changed_before`` are no reason to keep anything."""
    return _remove_placements(directories, name, claude_directories, changed_before, dry_run=True)


def choose(directories: WorkspaceDirectories, wanted: Mapping[str, str], owner: Owner, limits: Limits) -> list[str]:
    """The names of those to remove: ``wanted`` holds the digests that were seen, by :func:`printable` name. What has vanished is left out.

    Raises :class:`ConflictError` for one that is another one by now, :class:`WorkspaceError` and :class:`OSError`.
    """
    chosen: dict[str, str] = {}
    changed: set[str] = set()
    for name in find(directories):
        shown = printable(name)
        live = plugin_store.observe_live(directories, name, owner, limits, any_size=True) if shown in wanted else None
        if live is not None and live.digest == wanted[shown]:
            chosen[shown] = name
        elif live is not None:
            changed.add(shown)
    # Two names may look the same to people; then the other one is seen next time.
    for shown in sorted(changed - set(chosen)):
        raise ConflictError(f"{directories.plugin_label(shown)} was changed by somebody else since it was inspected: nothing was changed, run again")
    return list(chosen.values())


def remove(
    directories: WorkspaceDirectories, chosen: Sequence[str], changed_before: Sequence[str], claude_directories: Sequence[str], job: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Take the ``chosen`` away; the caller holds the lock. Returns ``{"removed", "kept"}`` by :func:`printable` name, of those that were still there.

    The order survives a death at any point: that a restart is due is noted first, and as long as the directory is there, the next run does all of it
    again. From ``plugins`` it goes in one step. Raises :class:`WorkspaceError` and :class:`OSError`.
    """
    results: dict[str, dict[str, Any]] = {}
    receipts_fd = directories.receipts_fd
    if receipts_fd is None or directories.plugins_fd is None:
        return results
    done: list[str] = []
    for name in chosen:
        if not is_loaded(directories.plugins_fd, name):
            continue
        receipts.write(receipts_fd, receipts.make(_PREFIX + _hash(name), "absent", None, None, None, job))
        results[printable(name)] = _remove_placements(directories, name, claude_directories, [*changed_before, *done], dry_run=False)
        with contextlib.suppress(FileNotFoundError):
            _keep(directories, directories.plugins_fd, name)
        done.append(name)
    _forget_oldest(directories, [_kept_name(name) for name in done])
    return results


def is_loaded(plugins_fd: int | None, name: str) -> bool:
    """Whether the runtime may load ``name``: it is a directory, or a link that may lead to one. Any other file below ``plugins`` is nothing to it."""
    try:
        mode = os.stat(name, dir_fd=plugins_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _keep(directories: WorkspaceDirectories, plugins_fd: int, name: str) -> None:
    """Move it out of ``plugins`` in one step; what was kept of that name before goes for good."""
    staging_fd, modified_fd = directories.staging_fd, directories.modified_fd
    if staging_fd is None or modified_fd is None:
        return
    if safe_files.exists(modified_fd, _kept_name(name)):
        # Recovery clears it if we die here.
        trash = _KEPT_PREFIX + secrets.token_hex(8)
        safe_files.rename(modified_fd, _kept_name(name), staging_fd, trash)
        safe_files.remove_tree(staging_fd, trash)
    safe_files.rename_to_absent(plugins_fd, name, modified_fd, _kept_name(name))
    os.fsync(plugins_fd)
    os.fsync(modified_fd)


def _forget_oldest(directories: WorkspaceDirectories, new: Sequence[str]) -> None:
    """Remove for good what earlier runs have taken, but the latest: new names may come for ever."""
    modified_fd = directories.modified_fd
    if modified_fd is None or not new:
        return
    old = [name for name in os.listdir(modified_fd) if name.startswith(_KEPT_PREFIX) and name not in new]
    # Moving it there was the last change to it.
    old.sort(key=lambda name: os.stat(name, dir_fd=modified_fd, follow_symlinks=False).st_ctime_ns, reverse=True)
    for name in old[max(_MAX_KEPT - len(new), 0):]:
        safe_files.remove_tree(modified_fd, name)


def _kept_name(name: str) -> str:
    """The name in ``modified``, by which a person finds it again."""
    return f"{_KEPT_PREFIX}{_hash(name)}-{re.sub('[^A-Za-z0-9._-]', '_', name)[:_MAX_READABLE]}"


def _hash(name: str) -> str:
    """What makes a name of any name; with the prefix a plugin may have it, so that it names the receipt that a restart is due."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _remove_placements(
    directories: WorkspaceDirectories, name: str, claude_directories: Sequence[str], changed_before: Collection[str], dry_run: bool
) -> dict[str, Any]:
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
            other_plugin_fds=open_other_plugins(directories.plugins_fd, [name, *changed_before], stack),
            dry_run=dry_run,
        )
