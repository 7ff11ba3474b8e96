# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What a plugin was before its last change of version, so that the change can be rolled back.

The tree lies in ``previous/<plugin>/``, the *record* of it in ``receipts/<plugin>.previous``: the digest that the tree had when it was replaced,
the receipt that it had then, and whether the present version came by rolling back from it. A record without a digest says that the plugin was
not there. A repair replaces no version, so it touches neither.

The tree was the agent's until it was replaced, and whoever had a file of it open may still write to it. It is therefore never put back itself:
it is compared with the record, and copied.
"""
from __future__ import annotations

import contextlib
import json
import os
from typing import Any, NamedTuple

from . import directory_files, receipts, safe_files
from .errors import TooLargeError, WorkspaceError
from .plugin_tree import DIGEST, Entries, Limits, Owner, normalise, observe, scan, tree_digest
from .printable import printable
from .tree_copy import copy_tree
from .workspace_directories import WorkspaceDirectories

_SUFFIX = ".previous"
_VERSION = 1
_MAX_BYTES = 2 * receipts.MAX_BYTES
_KEYS = frozenset(("version", "digest", "receipt", "rolled_back"))


class Record(NamedTuple):
    """``digest``: of the tree, None when there was no plugin. ``receipt``: what it had, if any. ``rolled_back``: the present version came from here."""

    digest: str | None
    receipt: receipts.Receipt | None
    rolled_back: bool


class PreviousVersion(NamedTuple):
    """What a rollback would restore.

    ``digest``: what the plugin has afterwards, None when it is absent then; ``entries`` describe it. ``problem``: one sentence why it cannot be restored.
    """

    record: Record | None
    digest: str | None
    entries: Entries | None
    problem: str | None


def file_name(plugin_name: str) -> str:
    """The name of a plugin's record in the directory of receipts: no receipt has it, whatever plugins are called."""
    return plugin_name + _SUFFIX


def encode(record: Record) -> bytes:
    """The bytes of a record's file."""
    return (json.dumps(dict(record._asdict(), version=_VERSION), sort_keys=True, indent=1) + "\n").encode("ascii")


def find(directories: WorkspaceDirectories, name: str, limits: Limits) -> PreviousVersion:
    """Look up and verify what rolling back would restore, reading only. Raises :class:`WorkspaceError` for what cannot be read."""
    try:
        record = _read(directories.receipts_fd, name)
    except WorkspaceError as error:
        return PreviousVersion(None, None, None, str(error))
    where = f"{directories.config_dir}/.molecule_ai/previous/{name}"
    if record is None:
        problem = f"plugin {name} has no previous version in {directories.config_dir}, so there is nothing to roll back to: install the version you want"
        return PreviousVersion(None, None, None, problem)
    if record.digest is None or record.rolled_back:
        return PreviousVersion(record, None, None, None)
    found = None
    instead = "it cannot be restored, install the version you want instead"
    if directories.previous_fd is not None:
        try:
            found = observe(directories.previous_fd, name, limits=limits, label=where)
        except TooLargeError:
            return PreviousVersion(record, None, None, f"the previous version of plugin {name} in {where} is larger than a plugin may be: {instead}")
    if found is None:
        return PreviousVersion(record, None, None, f"the previous version of plugin {name} is recorded, but {where} is gone: {instead}")
    special = next((path for path, entry in found.entries.items() if entry["type"] not in ("file", "directory")), None)
    if special is not None or found.entries[""]["type"] != "directory":
        what = f"'{printable(special or '.')}', which is neither a plain file nor a directory"
        return PreviousVersion(record, None, None, f"the previous version of plugin {name} holds {what}, so somebody had tampered with it: {instead}")
    if tree_digest(found.entries) != record.digest:
        return PreviousVersion(record, None, None, f"the previous version of plugin {name} in {where} was changed after it had been replaced: {instead}")
    entries = normalise(found.entries)
    return PreviousVersion(record, tree_digest(entries), entries, None)


def restore(
    directories: WorkspaceDirectories, name: str, previous: PreviousVersion, target_fd: int, owner: Owner | None, limits: Limits
) -> None:
    """Copy the tree into the empty directory ``target_fd``, and verify that it is the one that :func:`find` has described.

    Raises :class:`WorkspaceError` and :class:`OSError`.
    """
    label = f"the previous version of plugin {name}"
    if directories.previous_fd is None or previous.entries is None:
        raise WorkspaceError(f"{label} is gone: run again")
    with contextlib.ExitStack() as stack:
        source_fd = safe_files.open_subdirectory(directories.previous_fd, name)
        stack.callback(os.close, source_fd)
        copy_tree(source_fd, target_fd, previous.entries, owner, label=label)
    found = scan(target_fd, owner=owner, limits=limits, ignore=None, label=label)
    if tree_digest(found.entries) != previous.digest:
        raise WorkspaceError(f"{label} was changed while it was being copied: nothing was restored, look at what writes to the workspace's plugins")
    if found.wrong_owner:
        raise WorkspaceError(f"the file system of the workspace does not keep owners (at '{printable(found.wrong_owner[0])}'): use one that does")


def _read(receipts_fd: int | None, name: str) -> Record | None:
    """The plugin's record, if there is one. A broken one is an error: it must not look like "there is no previous version"."""
    if receipts_fd is None:
        return None
    label = f"receipts/{file_name(name)}"
    try:
        opened = directory_files.read_file(receipts_fd, file_name(name), label, _MAX_BYTES)
        if opened is None:
            return None
        record = json.loads(opened.content.decode("utf-8"))
        if not _is_record(record, name):
            raise ValueError("fields")
        return Record(record["digest"], record["receipt"], record["rolled_back"])
    except (directory_files.LeaveAlone, ValueError, RecursionError) as error:
        raise WorkspaceError(f"the record of plugin {name}'s previous version ({label}) is damaged: install the version you want instead") from error


def _is_record(record: Any, name: str) -> bool:
    if not isinstance(record, dict) or frozenset(record) != _KEYS or record["version"] != _VERSION or not isinstance(record["rolled_back"], bool):
        return False
    if record["digest"] is not None and not (isinstance(record["digest"], str) and DIGEST.fullmatch(record["digest"])):
        return False
    return record["receipt"] is None or receipts.problem_of(record["receipt"], name) == ""
