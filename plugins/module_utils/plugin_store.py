# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Atomic replacement of plugins on a workspace, any number in one go.

:func:`apply` does, under the workspace's lock: settle what an earlier run left, unpack and verify *all* bundles, check *all* preconditions,
bring the slots and the new trees to the disk, and only then change live, one plugin after the other. ``plugin_slot`` says how one plugin is
replaced and how an interruption is settled.
"""
from __future__ import annotations

import contextlib
import os
import stat
import tarfile
from typing import Any, BinaryIO, Iterator, Mapping, NamedTuple, Sequence

from . import archive, directory_files, placements, previous_version, receipts, safe_files
from .errors import ConflictError, WorkspaceError
from .names import is_plugin_name
from .plugin_slot import Intent, Outcome, Slot, leftovers
from .plugin_tree import Limits, Observed, Owner, bundle_name, observe, observe_any_size, scan, tree_digest
from .printable import printable
from .tree_copy import copy_tree
from .workspace_directories import WorkspaceDirectories

_RECOVERED = {
    Outcome.FINISHED: "finished an interrupted change of plugin '{name}'",
    Outcome.DISCARDED: "discarded an interrupted change of plugin '{name}' that had not begun: what was installed stayed as it was",
    Outcome.CLEARED: "cleared what an interrupted run had left in staging of plugin '{name}': its change was done or had not begun",
}


class Change(NamedTuple):
    """What one plugin shall be. ``digest`` is None for a removal; ``observed_digest`` is what inspect saw, None for nothing.

    ``rolled_back``: it shall be its previous version, of which inspect said that it has ``digest`` (None: there was no plugin).
    """

    name: str
    digest: str | None
    observed_digest: str | None
    source: str | None
    plugin_version: str | None
    rolled_back: bool = False


class Settings(NamedTuple):
    """What is the same for all plugins of one run. ``limits`` are a new tree's, ``live_limits`` those of what is on the workspace."""

    owner: Owner
    claude_directories: Sequence[str]
    job: Mapping[str, Any]
    limits: Limits
    live_limits: Limits


class _Planned(NamedTuple):
    change: Change
    slot: Slot
    previous_digest: str | None
    restored: previous_version.Record | None


def apply(directories: WorkspaceDirectories, changes: Sequence[Change], shipment: str | BinaryIO | None, settings: Settings) -> dict[str, Any]:
    """Make all ``changes``; the caller holds the lock. Returns ``plugins``, ``recovered`` and
    ``recovered_placements`` of the answer that ``plugin_request`` describes.

    ``shipment`` is a tar of bundles, or its path. Raises :class:`WorkspaceError`; unless its sentence says otherwise nothing was changed.
    """
    sentences, recovered_placements = recover(directories)
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        slots = _Slots(directories, stack)
        try:
            _stage(slots, changes, shipment, settings)
            restored = _stage_previous(directories, slots, changes, settings)
            planned = _plan(directories, slots, changes, settings, restored, results)
            if planned:
                # For a removal, too: what is moved into a slot is lost with the slot when that is not on the disk yet.
                safe_files.sync_file_system(slots.staging_fd)
        except BaseException as error:
            slots.give_up_all()
            if isinstance(error, OSError):
                what = f"{printable(error.filename)}: " if isinstance(error.filename, str) else ""
                raise WorkspaceError(
                    f"cannot prepare the plugins in {directories.config_dir}/.molecule_ai/staging ({what}{error.strerror}): "
                    "nothing was changed; mend that and run again"
                ) from error
            raise
        _commit(directories, slots, planned, settings, results)
    return {"plugins": results, "recovered": sentences, "recovered_placements": recovered_placements}


def recover(directories: WorkspaceDirectories) -> tuple[list[str], dict[str, Any]]:
    """Settle what earlier runs left in staging; the caller holds the lock.

    Returns one sentence for each change that was finished or undone, and by plugin what became of the old version's placements
    (``{"removed", "kept"}``): the run that died could not say it.
    """
    sentences: list[str] = []
    settled_placements: dict[str, Any] = {}
    staging_fd = directories.staging_fd
    names = leftovers(staging_fd)
    if staging_fd is None or not names:
        return sentences, settled_placements
    # What the run that died has done is found done, so nothing else would bring it to the disk before its journal goes.
    safe_files.sync_file_system(staging_fd)
    for name in names:
        if not is_plugin_name(name) or not directory_files.is_directory(staging_fd, name):
            safe_files.remove_tree(staging_fd, name)
            continue
        slot = Slot(directories, name)
        try:
            settled = slot.settle()
        finally:
            slot.close()
        sentences.append(_RECOVERED[settled.outcome].format(name=name))
        if settled.placements["removed"] or settled.placements["kept"]:
            settled_placements[name] = settled.placements
    return sentences, settled_placements


class _Slots:
    """The slots of one run, by plugin."""

    def __init__(self, directories: WorkspaceDirectories, stack: contextlib.ExitStack) -> None:
        if directories.staging_fd is None:
            raise WorkspaceError(f"{directories.config_dir}/.molecule_ai/staging is missing: run again")
        self.staging_fd = directories.staging_fd
        self._directories = directories
        self._stack = stack
        self._slots: dict[str, Slot] = {}

    def get(self, name: str) -> Slot:
        """The plugin's slot, made when it is first asked for."""
        if name not in self._slots:
            self._slots[name] = Slot(self._directories, name)
            self._stack.callback(self._slots[name].close)
        return self._slots[name]

    def has(self, name: str) -> bool:
        """Whether the plugin has a slot."""
        return name in self._slots

    def give_up(self, name: str) -> None:
        """Remove the plugin's slot, if it has one."""
        if name in self._slots:
            self._slots[name].give_up()

    def give_up_all(self, except_for: Sequence[str] = ()) -> None:
        """Remove the slots after a failure; what cannot be removed now is removed by the next run."""
        for name, slot in self._slots.items():
            if name not in except_for:
                with contextlib.suppress(OSError):
                    slot.give_up()


def _stage(slots: _Slots, changes: Sequence[Change], shipment: str | BinaryIO | None, settings: Settings) -> None:
    """Unpack and verify every bundle that was sent."""
    if shipment is None:
        return
    with _open_shipment(shipment) as (tar, bundles):
        for change in changes:
            member = bundles.get(bundle_name(change.digest)) if change.digest is not None and not change.rolled_back else None
            if member is None:
                continue
            label = f"the bundle of plugin '{change.name}'"
            stream = tar.extractfile(member)
            if stream is None:
                raise WorkspaceError(f"{label} is not a file in the shipment: run again")
            slot = slots.get(change.name)
            with _closing(slot.make_new_tree()) as new_fd:
                _unpack_and_verify(stream, new_fd, change, settings, label)
            stream.seek(0)
            with _closing(slot.make_installed_tree()) as installed_fd:
                archive.unpack(stream, installed_fd, limits=settings.limits, label=label, select=placements.is_source)


def _stage_previous(
    directories: WorkspaceDirectories, slots: _Slots, changes: Sequence[Change], settings: Settings
) -> dict[str, previous_version.Record]:
    """Copy the previous version of every plugin that is to be rolled back; return the records of them, by name."""
    records: dict[str, previous_version.Record] = {}
    for change in (change for change in changes if change.rolled_back):
        previous = previous_version.find(directories, change.name, settings.live_limits)
        if previous.problem is not None or previous.record is None:
            raise WorkspaceError(f"{previous.problem}; nothing was changed")
        if previous.record.rolled_back or previous.digest != change.digest:
            raise ConflictError(f"the previous version of plugin {change.name} is another one since it was inspected: nothing was changed, run again")
        records[change.name] = previous.record
        if previous.entries is None:
            continue
        slot = slots.get(change.name)
        with _closing(slot.make_new_tree()) as new_fd, _closing(slot.make_installed_tree()) as installed_fd:
            previous_version.restore(directories, change.name, previous, new_fd, settings.owner, settings.live_limits)
            copy_tree(new_fd, installed_fd, previous.entries, None, select=placements.is_source)
    return records


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unpack_and_verify(stream: BinaryIO, new_fd: int, change: Change, settings: Settings, label: str) -> None:
    archive.unpack(stream, new_fd, owner=settings.owner, limits=settings.limits, label=label)
    found = scan(new_fd, owner=settings.owner, limits=settings.limits, ignore=None, label=label)
    digest = tree_digest(found.entries)
    if digest != change.digest:
        raise WorkspaceError(f"{label} unpacks to digest {digest} instead of {change.digest}: nothing was installed, run again so that it is sent anew")
    if found.wrong_owner:
        raise WorkspaceError(f"the file system of the workspace does not keep owners (at '{printable(found.wrong_owner[0])}'): use one that does")


def _plan(
    directories: WorkspaceDirectories,
    slots: _Slots,
    changes: Sequence[Change],
    settings: Settings,
    restored: Mapping[str, previous_version.Record],
    results: dict[str, Any],
) -> list[_Planned]:
    """Decide per plugin whether there is something to do, and check the precondition of each where there is."""
    planned: list[_Planned] = []
    directories.plugin_names()
    for change in changes:
        live = _observe_live(directories, change, settings)
        digest = live.digest if live else None
        if digest == change.digest and not (live and live.tree and live.tree.wrong_owner) and not (digest is None and has_remains(directories, change.name)):
            slots.give_up(change.name)
            results[change.name] = _result(False, digest, digest)
            if digest is None:
                _settle_receipt_of_nothing(directories, change.name)
            continue
        if digest != change.observed_digest:
            raise ConflictError(
                f"{directories.plugin_label(change.name)} was changed by somebody else since it was inspected: nothing was overwritten, run again"
            )
        if change.digest is not None and not slots.has(change.name):
            raise WorkspaceError(f"the bundle of plugin '{change.name}' was not sent: run again")
        planned.append(_Planned(change, slots.get(change.name), digest, restored.get(change.name)))
    return planned


def has_remains(directories: WorkspaceDirectories, name: str) -> bool:
    """Whether a plugin that is not live was installed once and never removed: somebody has deleted its directory, and what the runtime made of it is left."""
    return directories.installed_fd is not None and safe_files.exists(directories.installed_fd, name)


def remains(directories: WorkspaceDirectories) -> list[str]:
    """The names of all plugins that :func:`has_remains` is true of and in whose place nothing lies."""
    if directories.installed_fd is None:
        return []
    names = [name for name in os.listdir(directories.installed_fd) if is_plugin_name(name)]
    return sorted(name for name in names if directories.plugins_fd is None or not safe_files.exists(directories.plugins_fd, name))


def _commit(directories: WorkspaceDirectories, slots: _Slots, planned: Sequence[_Planned], settings: Settings, results: dict[str, Any]) -> None:
    done: list[str] = []
    for item in planned:
        change = item.change
        old_receipt = receipts.read(directories.receipts_fd, change.name).receipt
        previous = _record_of_replaced(item, old_receipt)
        intent = Intent(
            had_live=item.previous_digest is not None,
            replaces_version=previous is not None,
            digest=change.digest,
            owner=settings.owner,
            claude_directories=settings.claude_directories,
            limits=settings.live_limits,
            changed_before=list(done),
        )
        try:
            outcome = item.slot.commit(intent, _receipt_of_new(item, settings.job), previous)
        except WorkspaceError as error:
            slots.give_up_all(except_for=[*done, change.name])
            if not done:
                raise
            raise type(error)(f"{error}; changed before that, and in place: {', '.join(done)}") from error
        done.append(change.name)
        results[change.name] = dict(
            _result(True, item.previous_digest, change.digest), removed_placements=list(outcome["removed"]), kept=list(outcome["kept"])
        )


def _record_of_replaced(item: _Planned, receipt: receipts.Receipt | None) -> previous_version.Record | None:
    """The record of the version that goes; None where the version stays: its files are repaired, or there are only remains of it."""
    change, present = item.change, receipt if receipt is not None and receipt["state"] == "present" else None
    if not change.rolled_back:
        installed = (item.previous_digest, present["digest"] if present is not None else None)
        if change.digest in installed if change.digest is not None else item.previous_digest is None:
            return None
    return previous_version.Record(item.previous_digest, present if item.previous_digest is not None else None, change.rolled_back)


def _receipt_of_new(item: _Planned, job: Mapping[str, Any]) -> receipts.Receipt:
    change, state = item.change, "absent" if item.change.digest is None else "present"
    of_restored = item.restored.receipt if item.restored is not None else None
    if of_restored is None:
        return receipts.make(change.name, state, change.digest, change.source, change.plugin_version, job)
    # As it was: its digest too, so that files which had been changed before that version was replaced still count as changed.
    return receipts.make(change.name, state, of_restored["digest"], of_restored["source"], of_restored["plugin_version"], job)


def _observe_live(directories: WorkspaceDirectories, change: Change, settings: Settings) -> Observed | None:
    return observe_live(directories, change.name, settings.owner, settings.live_limits, any_size=change.digest is None)


def observe_live(directories: WorkspaceDirectories, name: str, owner: Owner, limits: Limits, any_size: bool) -> Observed | None:
    """What lies in the place of the live plugin; ``any_size``: it is to go, so it may be larger than ``limits``. Raises :class:`WorkspaceError`."""
    if directories.plugins_fd is None:
        return None
    label = directories.plugin_label(printable(name))
    if any_size:
        return observe_any_size(directories.plugins_fd, name, owner=owner, limits=limits, label=label)
    tree = observe(directories.plugins_fd, name, owner=owner, limits=limits, label=label)
    return Observed(tree_digest(tree.entries), tree) if tree is not None else None


def _settle_receipt_of_nothing(directories: WorkspaceDirectories, name: str) -> None:
    """The plugin shall be and is absent: a receipt that says "present" is wrong. Its restart, if still due, stays due."""
    receipts_fd = directories.receipts_fd
    found = receipts.read(receipts_fd, name)
    if receipts_fd is None or found.receipt is None:
        return
    if not found.receipt["restart_pending"]:
        receipts.remove(receipts_fd, name)
    elif found.receipt["state"] == "present":
        receipts.write(receipts_fd, dict(found.receipt, state="absent", digest=None))


def _result(changed: bool, previous_digest: str | None, digest: str | None) -> dict[str, Any]:
    return {"changed": changed, "previous_digest": previous_digest, "digest": digest, "removed_placements": [], "kept": []}


@contextlib.contextmanager
def _open_shipment(shipment: str | BinaryIO) -> Iterator[Any]:
    """The shipment's tar and its regular members by name."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_file(shipment)) if isinstance(shipment, str) else shipment
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield tar, {member.name: member for member in tar if member.isreg()}
        except tarfile.TarError as error:
            raise WorkspaceError(f"the shipment of plugins is damaged ({error}): run again, so that it is sent anew") from error


def _open_file(path: str) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise WorkspaceError(f"shipment {path} is not a file: run again")
    return file
