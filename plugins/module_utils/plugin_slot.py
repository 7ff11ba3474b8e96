# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The replacement of one plugin: at any instant live is one whole version, and a death at any point is settled by whoever comes next.

A *slot* is the directory ``.molecule_ai/staging/<plugin>/``. In it lie, each for a time:

* ``new``: the new tree, unpacked, verified, with owner and modes, on the disk;
* ``installed``: of the new tree, what is going to be the plugin's directory in ``installed``, for the next change's placements;
* ``receipt.json``: the receipt that is going to be the plugin's;
* ``previous.json``: where a version is replaced, the record of it that is going to be the plugin's (see ``previous_version``);
* ``journal.json``: the intent. It is written when everything above is complete, and removed first when the slot is given up or done;
* ``old``: the tree (or whatever else was there) that was live before;
* ``trash``: what is replaced for good, for example the version that was in ``previous`` before.

An install, a removal, a repair and a rollback are one and the same replacement. They differ in what becomes of ``old``: a version that is
replaced becomes ``previous``, what a repair replaces becomes ``modified``, so that repairs leave a good previous version alone.

The life of a slot, and what :meth:`Slot.settle` does with one that it finds (``L`` is the live name, ``new*`` the verified tree, told by its
digest and owners from an old tree that an exchange has put at ``new``):

======================  ==============================================  =================================================
found in the slot       how it came to be                               settled by
======================  ==============================================  =================================================
no journal              died while unpacking, or done                   give up: remove the slot, live was not touched
new*, no old            intent written, live not touched yet            give up: the old version stays
new*, old               between the two steps where the file system     go on: ``new`` becomes live, whatever is at L by now
                        cannot exchange; L is missing                   is thrown away
another tree at new     exchanged                                       go on: it becomes ``old``
old                     exchanged (or, for a removal, taken away)       finish: placements, receipt, previous
neither                 first install is live, or old is in previous    finish: receipt
neither, for a removal  live was not touched yet                        give up (or: it was finished already)
nothing was live, and   the plugin's directory is gone already, what    finish: placements, receipt
a removal is wanted     the runtime made of it is to go
======================  ==============================================  =================================================

Each step may be repeated, so dying while settling is settled in the same way.
"""
from __future__ import annotations

import contextlib
import enum
import errno
import json
import os
from typing import Any, Collection, NamedTuple, Sequence

from . import directory_files, placements, previous_version, receipts, safe_files
from .errors import ConflictError, TooLargeError, WorkspaceError
from .plugin_tree import Limits, Owner, observe, tree_digest
from .workspace_directories import MAX_PLUGIN_NAMES, WorkspaceDirectories

_JOURNAL = "journal.json"
_RECEIPT = "receipt.json"
_PREVIOUS = "previous.json"
_NEW = "new"
_OLD = "old"
_INSTALLED = "installed"
_TRASH = "trash"
_JOURNAL_VERSION = 1
_MAX_JOURNAL_BYTES = 256 * 1024


class Intent(NamedTuple):
    """What a slot is for. ``had_live``: whether there was something at the live name; ``digest`` is None for a removal.

    ``replaces_version``: what was live becomes the previous version; otherwise it was a version's damaged files. ``changed_before`` names the plugins
    that the same run has changed already: what the new version of one places is placed anew at the restart, so it is no reason to leave anything.
    """

    had_live: bool
    replaces_version: bool
    digest: str | None
    owner: Owner
    claude_directories: Sequence[str]
    limits: Limits
    changed_before: Sequence[str] = ()


class Outcome(enum.Enum):
    """How a slot that was found ended. ``CLEARED``: too little was left in it to tell whether its change was done or had not begun."""

    FINISHED = "finished"
    DISCARDED = "discarded"
    CLEARED = "cleared"


class Settled(NamedTuple):
    """How a slot that was found ended, and what became of the old version's placements."""

    outcome: Outcome
    placements: dict[str, Any]


class Slot:
    """The staging directory of one plugin. Close it after use; only the holder of the lock may touch it."""

    def __init__(self, directories: WorkspaceDirectories, name: str) -> None:
        self.name = name
        self._directories = directories
        self._label = directories.plugin_label(name)
        self._plugins_fd = _required(directories.plugins_fd)
        self._staging_fd = _required(directories.staging_fd)
        self.fd = safe_files.make_subdirectory(self._staging_fd, name)

    def close(self) -> None:
        """Close the descriptor; the directory stays."""
        os.close(self.fd)

    def make_new_tree(self) -> int:
        """Create the directory for the new tree and open it; the caller closes it."""
        return safe_files.make_subdirectory(self.fd, _NEW)

    def make_installed_tree(self) -> int:
        """Create the directory for what the runtime places something of in the new tree, and open it; the caller closes it."""
        return safe_files.make_subdirectory(self.fd, _INSTALLED)

    def commit(self, intent: Intent, receipt: receipts.Receipt, previous: previous_version.Record | None) -> dict[str, Any]:
        """Make the change and return what became of the old version's placements (``{"removed", "kept"}``).

        ``previous`` describes the version that is replaced, None where none is.

        Raises :class:`ConflictError` when live appeared or vanished meanwhile, and :class:`WorkspaceError` with the state in which things are.
        """
        try:
            safe_files.write_file(self.fd, _RECEIPT, receipts.encode(receipt))
            if previous is not None:
                safe_files.write_file(self.fd, _PREVIOUS, previous_version.encode(previous))
            self._write_journal(intent)
            self._exchange(intent)
            return self._finish(intent)
        except OSError as error:
            raise self._failure(error) from error

    def settle(self) -> Settled:
        """Settle a slot that an earlier run left: see the table above. Raises :class:`WorkspaceError` and :class:`OSError`."""
        nothing: dict[str, Any] = {"removed": [], "kept": []}
        intent = self._read_journal()
        if intent is None:
            # A change that is done has moved all of these to their places; one that had not begun may have come as far as an empty slot.
            is_staged = any(safe_files.exists(self.fd, name) for name in (_NEW, _INSTALLED, _RECEIPT))
            self.give_up()
            return Settled(Outcome.DISCARDED if is_staged else Outcome.CLEARED, nothing)
        if not self._has_begun(intent):
            is_removed = intent.digest is None and not safe_files.exists(self._plugins_fd, self.name)
            self.give_up()
            return Settled(Outcome.FINISHED if is_removed else Outcome.DISCARDED, nothing)
        if safe_files.exists(self.fd, _NEW):
            self._go_on(intent)
        return Settled(Outcome.FINISHED, self._finish(intent))

    def give_up(self) -> None:
        """Remove the slot and all that is in it, the intent first."""
        safe_files.remove_tree(self.fd, _JOURNAL)
        os.fsync(self.fd)
        safe_files.remove_tree(self._staging_fd, self.name)

    def _exchange(self, intent: Intent) -> None:
        """Swap live and new; afterwards the old tree, if there was one, is at ``old``."""
        if intent.digest is None and intent.had_live:
            safe_files.rename(self._plugins_fd, self.name, self.fd, _OLD)
        elif intent.digest is None:
            return
        elif not intent.had_live:
            safe_files.rename_to_absent(self.fd, _NEW, self._plugins_fd, self.name)
        else:
            try:
                safe_files.exchange(self.fd, _NEW, self._plugins_fd, self.name)
            except safe_files.NotSupported:
                self._replace_in_two_steps()
            else:
                safe_files.rename(self.fd, _NEW, self.fd, _OLD)
        os.fsync(self._plugins_fd)
        os.fsync(self.fd)

    def _replace_in_two_steps(self) -> None:
        safe_files.rename(self._plugins_fd, self.name, self.fd, _OLD)
        try:
            safe_files.rename_to_absent(self.fd, _NEW, self._plugins_fd, self.name)
        except OSError:
            safe_files.rename_to_absent(self.fd, _OLD, self._plugins_fd, self.name)
            raise

    def _has_begun(self, intent: Intent) -> bool:
        """Whether live was touched already."""
        if safe_files.exists(self.fd, _OLD):
            return True
        if intent.digest is None:
            return not intent.had_live
        return not safe_files.exists(self.fd, _NEW) or not self._is_new_tree(intent)

    def _is_new_tree(self, intent: Intent) -> bool:
        """Whether what is at ``new`` is the verified tree. If live had been equal to it, there would have been nothing to exchange."""
        try:
            found = observe(self.fd, _NEW, owner=intent.owner, limits=intent.limits, ignore=None, label=f"the staged plugin '{self.name}'")
        except TooLargeError:
            return False
        return found is not None and not found.wrong_owner and tree_digest(found.entries) == intent.digest

    def _go_on(self, intent: Intent) -> None:
        if not safe_files.exists(self.fd, _OLD):
            safe_files.rename(self.fd, _NEW, self.fd, _OLD)
        else:
            self._throw_away(self._plugins_fd)
            safe_files.rename_to_absent(self.fd, _NEW, self._plugins_fd, self.name)
        os.fsync(self._plugins_fd)
        os.fsync(self.fd)

    def _finish(self, intent: Intent) -> dict[str, Any]:
        removed = self._remove_placements(intent)
        self._replace_installed(intent)
        self._replace_record(_PREVIOUS, previous_version.file_name(self.name))
        self._replace_record(_RECEIPT, receipts.file_name(self.name))
        self._keep_old(intent)
        self.give_up()
        return removed

    def _remove_placements(self, intent: Intent) -> dict[str, Any]:
        # Once the new version's copy has left the slot, what lies in "installed" is no old version any more.
        knows_old_version = intent.digest is None or safe_files.exists(self.fd, _INSTALLED)
        with contextlib.ExitStack() as stack:
            return placements.find_and_remove(
                self._directories.config_fd,
                open_plugin(self.fd, _OLD, stack),
                self.name,
                intent.claude_directories,
                self.fd,
                installed_plugin_fd=open_plugin(self._directories.installed_fd, self.name, stack) if knows_old_version else None,
                other_plugin_fds=open_other_plugins(self._plugins_fd, [self.name, *intent.changed_before], stack),
            )

    def _replace_installed(self, intent: Intent) -> None:
        """Before ``old`` leaves the slot, because without it a removal counts as finished."""
        installed_fd = _required(self._directories.installed_fd)
        is_new = safe_files.exists(self.fd, _INSTALLED)
        if intent.digest is None or is_new:
            self._throw_away(installed_fd)
        if is_new:
            safe_files.rename(self.fd, _INSTALLED, installed_fd, self.name)
        os.fsync(installed_fd)

    def _replace_record(self, name: str, final_name: str) -> None:
        if safe_files.exists(self.fd, name):
            receipts_fd = _required(self._directories.receipts_fd)
            safe_files.rename(self.fd, name, receipts_fd, final_name)
            os.fsync(receipts_fd)

    def _keep_old(self, intent: Intent) -> None:
        """After the records: an ``old`` that has left the slot makes a removal count as finished."""
        has_old = safe_files.exists(self.fd, _OLD)
        if not has_old and (intent.had_live or not intent.replaces_version):
            return
        kept_fd = _required(self._directories.previous_fd if intent.replaces_version else self._directories.modified_fd)
        self._throw_away(kept_fd)
        if has_old:
            safe_files.rename(self.fd, _OLD, kept_fd, self.name)
        os.fsync(kept_fd)

    def _throw_away(self, directory_fd: int) -> None:
        """Take whatever has the plugin's name in that directory into the slot, with which it is removed."""
        if safe_files.exists(directory_fd, self.name):
            safe_files.remove_tree(self.fd, _TRASH)
            safe_files.rename(directory_fd, self.name, self.fd, _TRASH)

    def _failure(self, error: OSError) -> WorkspaceError:
        """Give up, unless live was touched already, and say which of the two it is. What cannot be removed now is removed by the next run."""
        begun = True
        with contextlib.suppress(OSError, WorkspaceError):
            intent = self._read_journal()
            begun = intent is not None and self._has_begun(intent)
            if not begun:
                self.give_up()
        if begun:
            return WorkspaceError(
                f"changing {self._label} was begun and could not be finished ({error.filename or 'writing'}: {error.strerror}): "
                "mend that and run again, the next run finishes it"
            )
        if isinstance(error, (FileExistsError, FileNotFoundError)):
            return ConflictError(f"{self._label} appeared or vanished while it was being changed: nothing was overwritten, run again")
        return WorkspaceError(f"cannot change {self._label}: {error.strerror}; what was there before is untouched: mend that and run again")

    def _write_journal(self, intent: Intent) -> None:
        journal = dict(intent._asdict(), version=_JOURNAL_VERSION, limits=list(intent.limits))
        safe_files.write_file(self.fd, _JOURNAL, json.dumps(journal, sort_keys=True).encode("ascii"))

    def _read_journal(self) -> Intent | None:
        """The intent, or None when there is none. The directory is ours alone, so a journal that cannot be understood is not ignored."""
        label = f"staging/{self.name}/{_JOURNAL}"
        try:
            opened = directory_files.read_file(self.fd, _JOURNAL, label, _MAX_JOURNAL_BYTES)
            if opened is None:
                return None
            journal = json.loads(opened.content.decode("utf-8"))
            if journal["version"] != _JOURNAL_VERSION:
                raise ValueError("version")
            owner = (int(journal["owner"][0]), int(journal["owner"][1]))
            return Intent(
                had_live=bool(journal["had_live"]),
                replaces_version=bool(journal["replaces_version"]),
                digest=journal["digest"],
                owner=owner,
                claude_directories=list(journal["claude_directories"]),
                limits=Limits(*journal["limits"]),
                changed_before=list(journal["changed_before"]),
            )
        except (directory_files.LeaveAlone, ValueError, KeyError, TypeError, IndexError) as error:
            raise WorkspaceError(
                f"{label} in {self._directories.config_dir}/.molecule_ai is not a journal of this version: an interrupted change of plugin "
                f"'{self.name}' needs the version of this collection that began it, or remove staging/{self.name} after a look at both trees"
            ) from error


def open_plugin(parent_fd: int | None, name: str, stack: contextlib.ExitStack) -> int | None:
    """Open the directory ``name``, if it is one; ``stack`` closes it. Raises :class:`OSError`.

    In one step: a writer takes the name away for a moment while a reader looks.
    """
    if parent_fd is None:
        return None
    try:
        plugin_fd = safe_files.open_subdirectory(parent_fd, name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    stack.callback(os.close, plugin_fd)
    return plugin_fd


def open_other_plugins(plugins_fd: int, but: Collection[str], stack: contextlib.ExitStack) -> dict[str, int]:
    """Open every live plugin directory ``but`` those; ``stack`` closes them. Raises :class:`OSError`."""
    opened: dict[str, int] = {}
    for other in sorted(safe_files.list_names(plugins_fd, MAX_PLUGIN_NAMES)):
        other_fd = open_plugin(plugins_fd, other, stack) if other not in but else None
        if other_fd is not None:
            opened[other] = other_fd
    return opened


def leftovers(staging_fd: int | None) -> list[str]:
    """The names in the staging directory: what an interrupted run left, or what a run is doing right now."""
    return sorted(os.listdir(staging_fd)) if staging_fd is not None else []


def _required(descriptor: int | None) -> int:
    if descriptor is None:
        raise WorkspaceError("the workspace's directories were opened for reading only: this is a defect, please report it")
    return descriptor
