# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""Atomic replacement of plugins on a workspace, any number in one go.

:func:`apply` does, under the workspace's lock: settle what an earlier run left, unpack and verify *all* bundles, check *all* preconditions,
bring the new trees to the disk, and only then change live, one plugin after the other. ``plugin_slot`` says how one plugin is replaced and how
an interruption is settled.
"""
from __future__ import annotations

import contextlib
import os
import stat
import tarfile
import time
from typing import Any, BinaryIO, Iterator, Mapping, NamedTuple, Sequence

from . import archive, directory_files, placements, receipts, safe_files
from .errors import ConflictError, WorkspaceError
from .names import is_plugin_name
from .plugin_slot import Intent, Outcome, Slot, leftovers
from .plugin_tree import Limits, Owner, ScanResult, bundle_name, observe, scan, tree_digest
from .printable import printable
from .workspace_directories import WorkspaceDirectories

_TRANSFERS = "tmp"
_TRANSFER_PREFIX = "ansible-tmp-"
# Seconds. Nobody waits longer than a day for the lock, so whoever sent this is not waiting any more.
_ABANDONED_AFTER = 2 * 86400
_RECOVERED = {
    Outcome.FINISHED: "finished an interrupted change of plugin '{name}'",
    Outcome.DISCARDED: "discarded an interrupted change of plugin '{name}' that had not begun: what was installed stayed as it was",
    Outcome.CLEARED: "cleared what an interrupted run had left in staging of plugin '{name}': its change was done or had not begun",
}


class Change(NamedTuple):
    """What one plugin shall be. ``digest`` is None for a removal; ``observed_digest`` is what inspect saw, None for nothing."""

    name: str
    digest: str | None
    observed_digest: str | None
    source: str | None
    plugin_version: str | None


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


def apply(directories: WorkspaceDirectories, changes: Sequence[Change], shipment: str | None, settings: Settings) -> dict[str, Any]:
    """Make all ``changes``; the caller holds the lock. Returns ``{"plugins": {name: ...}, "recovered": [sentence]}``.

    ``shipment`` is the path of a tar of bundles. Raises :class:`WorkspaceError`; unless its sentence says otherwise nothing was changed.
    """
    recovered = recover(directories)
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        slots = _Slots(directories, stack)
        try:
            _stage(slots, changes, shipment, settings)
            planned = _plan(directories, slots, changes, settings, results)
            if any(item.change.digest is not None for item in planned):
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
        _commit(slots, planned, settings, results)
    return {"plugins": results, "recovered": recovered}


def recover(directories: WorkspaceDirectories) -> list[str]:
    """Settle what earlier runs left in staging; the caller holds the lock. Returns one sentence for each change that was finished or undone."""
    sentences: list[str] = []
    staging_fd = directories.staging_fd
    for name in leftovers(staging_fd):
        if staging_fd is None:
            break
        if not is_plugin_name(name) or not directory_files.is_directory(staging_fd, name):
            safe_files.remove_tree(staging_fd, name)
            continue
        slot = Slot(directories, name)
        try:
            settled = slot.settle()
        finally:
            slot.close()
        sentences.append(_RECOVERED[settled.outcome].format(name=name))
    return sentences


def remove_abandoned_transfers(state_fd: int) -> None:
    """Remove what killed runs have sent and nobody will ever unpack, where Ansible's directory for that is in ours; the caller holds the lock.

    Ansible leaves its temporary directory behind when it is killed, with all the bundles in it. It is a courtesy: failures are ignored.
    """
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        transfers_fd = safe_files.open_subdirectory(state_fd, _TRANSFERS)
        stack.callback(os.close, transfers_fd)
        for name in os.listdir(transfers_fd):
            age = time.time() - os.stat(name, dir_fd=transfers_fd, follow_symlinks=False).st_mtime
            if name.startswith(_TRANSFER_PREFIX) and age > _ABANDONED_AFTER:
                safe_files.remove_tree(transfers_fd, name)


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


def _stage(slots: _Slots, changes: Sequence[Change], shipment: str | None, settings: Settings) -> None:
    """Unpack and verify every bundle that was sent."""
    if shipment is None:
        return
    with _open_shipment(shipment) as (tar, bundles):
        for change in changes:
            member = bundles.get(bundle_name(change.digest)) if change.digest is not None else None
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
    directories: WorkspaceDirectories, slots: _Slots, changes: Sequence[Change], settings: Settings, results: dict[str, Any]
) -> list[_Planned]:
    """Decide per plugin whether there is something to do, and check the precondition of each where there is."""
    planned: list[_Planned] = []
    for change in changes:
        live = _observe_live(directories, change.name, settings)
        digest = tree_digest(live.entries) if live else None
        if digest == change.digest and not (live and live.wrong_owner):
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
        planned.append(_Planned(change, slots.get(change.name), digest))
    return planned


def _commit(slots: _Slots, planned: Sequence[_Planned], settings: Settings, results: dict[str, Any]) -> None:
    done: list[str] = []
    for item in planned:
        change = item.change
        intent = Intent(item.previous_digest is not None, change.digest, settings.owner, settings.claude_directories, settings.live_limits)
        state = "absent" if change.digest is None else "present"
        receipt = receipts.make(change.name, state, change.digest, change.source, change.plugin_version, settings.job)
        try:
            outcome = item.slot.commit(intent, receipt)
        except WorkspaceError as error:
            slots.give_up_all(except_for=[*done, change.name])
            if not done:
                raise
            raise type(error)(f"{error}; changed before that, and in place: {', '.join(done)}") from error
        done.append(change.name)
        results[change.name] = dict(
            _result(True, item.previous_digest, change.digest), removed_placements=list(outcome["removed"]), kept=list(outcome["kept"])
        )


def _observe_live(directories: WorkspaceDirectories, name: str, settings: Settings) -> ScanResult | None:
    if directories.plugins_fd is None:
        return None
    return observe(directories.plugins_fd, name, owner=settings.owner, limits=settings.live_limits, label=directories.plugin_label(name))


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
def _open_shipment(path: str) -> Iterator[Any]:
    """The shipment's tar and its regular members by name."""
    shipment_fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(shipment_fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(shipment_fd).st_mode):
            raise WorkspaceError(f"shipment {path} is not a file: run again")
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield tar, {member.name: member for member in tar if member.isreg()}
        except tarfile.TarError as error:
            raise WorkspaceError(f"shipment {path} is damaged ({error}): run again, so that it is sent anew") from error
