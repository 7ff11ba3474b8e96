# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The directories that the workspace half works in, opened so that nobody can lead it elsewhere.

Everything below the config dir belongs to the agent, which is not trusted. ``plugins`` must be a real directory. ``.molecule_ai`` must be a
real directory that belongs to us and that nobody else can enter; what lies in it is ours alone:

* ``receipts``: what was recorded about each install or removal; ``lock``: one writer per workspace;
* ``staging``: changes on their way, see ``plugin_slot``;
* ``previous``: the version of each plugin that was replaced or removed last, see ``previous_version``;
* ``modified``: what was in the place of each plugin when it was last repaired;
* ``installed``: of each plugin, as it was installed, the files that the runtime places something of (see ``placements``).
"""
from __future__ import annotations

import contextlib
import errno
import os
import stat

from . import safe_files
from .errors import WorkspaceError
from .plugin_tree import Owner

PLUGINS = "plugins"
STATE = ".molecule_ai"
_NEW_PLUGINS = "plugins.new"
# Each failure is another run's success.
_ATTEMPTS = 20
# Each plugin costs an open descriptor while placements are taken away, and 1024 is a usual limit of a process.
MAX_PLUGIN_NAMES = 500


class WorkspaceDirectories:
    """Open descriptors; close with :meth:`close` or use as a context manager. For reading, what does not exist yet is None."""

    def __init__(self, config_dir: str) -> None:
        self.config_dir = config_dir
        self.config_fd: int = -1
        self.plugins_fd: int | None = None
        self.state_fd: int | None = None
        self.receipts_fd: int | None = None
        self.staging_fd: int | None = None
        self.previous_fd: int | None = None
        self.modified_fd: int | None = None
        self.installed_fd: int | None = None

    def __enter__(self) -> WorkspaceDirectories:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (
            self.installed_fd, self.modified_fd, self.previous_fd, self.staging_fd, self.receipts_fd, self.state_fd, self.plugins_fd, self.config_fd
        ):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)

    def plugin_names(self) -> list[str]:
        """What lies in the ``plugins`` directory, sorted. Raises :class:`WorkspaceError` when there is more than any runtime could load."""
        names = safe_files.list_names(self.plugins_fd, MAX_PLUGIN_NAMES + 1) if self.plugins_fd is not None else []
        if len(names) > MAX_PLUGIN_NAMES:
            raise WorkspaceError(f"{self.config_dir}/{PLUGINS} holds more than {MAX_PLUGIN_NAMES} names: remove what is no plugin and run again")
        return sorted(names)

    def plugin_label(self, name: str) -> str:
        """How a live plugin is called in sentences for users."""
        return f"{self.config_dir}/{PLUGINS}/{name}"


def open_for_reading(config_dir: str) -> WorkspaceDirectories:
    """Open what is there; create nothing. Raises :class:`WorkspaceError` for what cannot be read or is not what it must be."""
    directories = WorkspaceDirectories(config_dir)
    try:
        directories.config_fd = _open_config_dir(config_dir)
        directories.plugins_fd = _open_plugins(directories)
        directories.state_fd = _open_state(directories)
        if directories.state_fd is not None:
            directories.receipts_fd = _open_inner(directories, "receipts")
            directories.staging_fd = _open_inner(directories, "staging")
            directories.previous_fd = _open_inner(directories, "previous")
            directories.modified_fd = _open_inner(directories, "modified")
            directories.installed_fd = _open_inner(directories, "installed")
    except BaseException:
        directories.close()
        raise
    return directories


def open_for_writing(config_dir: str, owner: Owner) -> WorkspaceDirectories:
    """Open all directories and create the missing ones; ``owner`` gets the ``plugins`` directory if that is new.

    Raises :class:`WorkspaceError` for what is not what it must be, :class:`OSError` when the file system refuses.
    """
    directories = WorkspaceDirectories(config_dir)
    try:
        directories.config_fd = _open_config_dir(config_dir)
        if not safe_files.exists(directories.config_fd, STATE):
            os.close(safe_files.make_subdirectory(directories.config_fd, STATE))
        directories.state_fd = _open_state(directories)
        if directories.state_fd is None:
            raise WorkspaceError(f"{config_dir}/{STATE} vanished while it was being opened: find out what removes it, then run again")
        directories.receipts_fd = safe_files.make_subdirectory(directories.state_fd, "receipts")
        directories.staging_fd = safe_files.make_subdirectory(directories.state_fd, "staging")
        directories.previous_fd = safe_files.make_subdirectory(directories.state_fd, "previous")
        directories.modified_fd = safe_files.make_subdirectory(directories.state_fd, "modified")
        directories.installed_fd = safe_files.make_subdirectory(directories.state_fd, "installed")
        _create_plugins(directories.config_fd, directories.state_fd, owner)
        directories.plugins_fd = _open_plugins(directories)
        if directories.plugins_fd is None or os.fstat(directories.plugins_fd).st_dev != os.fstat(directories.staging_fd).st_dev:
            raise WorkspaceError(
                f"{config_dir}/{PLUGINS} is not on the same file system as {config_dir}/{STATE}, so plugins cannot be replaced in one step: "
                f"mount one volume at {config_dir} instead"
            )
    except BaseException:
        directories.close()
        raise
    return directories


def _open_config_dir(config_dir: str) -> int:
    try:
        return safe_files.open_real_path(config_dir)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise WorkspaceError(
                f"config dir {config_dir} is not a directory itself, or a part of its path is a link: give the real path of the workspace's config dir"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise WorkspaceError(
                f"cannot open config dir {config_dir}: {error.strerror}; root or its owner can, so set become and give the login user sudo rights"
            ) from error
        raise WorkspaceError(f"cannot open config dir {config_dir}: {error.strerror}; check config_dir and that the workspace's volume is mounted") from error


def _open_plugins(directories: WorkspaceDirectories) -> int | None:
    return _open_real_directory(directories, PLUGINS, "make it a real directory: a link could lead anywhere")


def _open_state(directories: WorkspaceDirectories) -> int | None:
    path = f"{directories.config_dir}/{STATE}"
    advice = "look at who made it, remove it, and run again"
    state_fd = _open_real_directory(directories, STATE, advice)
    if state_fd is None:
        return None
    status = os.fstat(state_fd)
    problem = ""
    if status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid} instead of {os.geteuid()}"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        problem = f"can be entered by others (mode {stat.S_IMODE(status.st_mode):04o} instead of 0700)"
    if problem:
        os.close(state_fd)
        raise WorkspaceError(f"{path} {problem}, so what lies in it cannot be trusted: {advice}")
    return state_fd


def _open_real_directory(directories: WorkspaceDirectories, name: str, advice: str) -> int | None:
    path = f"{directories.config_dir}/{name}"
    try:
        return safe_files.open_subdirectory(directories.config_fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise WorkspaceError(f"{path} is a link or a file, not a directory: {advice}") from error
        raise WorkspaceError(f"cannot open {path}: {error.strerror}; make it readable for the user that Ansible becomes") from error


def _open_inner(directories: WorkspaceDirectories, name: str) -> int | None:
    if directories.state_fd is None:
        return None
    try:
        return safe_files.open_subdirectory(directories.state_fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WorkspaceError(f"cannot open {directories.config_dir}/{STATE}/{name}: {error.strerror}") from error


def _create_plugins(config_fd: int, state_fd: int, owner: Owner) -> None:
    """Make ``plugins`` elsewhere and move it there, so that it never exists with another owner than the agent, not even after a power failure.

    Nobody holds the lock yet, so several first runs may be here at once, and take one another's directory for theirs: whose is moved does not matter, what
    is removed is removed only if it is empty, and who finds nothing of its own any more tries again.
    """
    for _attempt in range(_ATTEMPTS):
        if safe_files.exists(config_fd, PLUGINS):
            return
        with contextlib.suppress(FileNotFoundError):
            _move_new_plugins(config_fd, state_fd, owner)


def _move_new_plugins(config_fd: int, state_fd: int, owner: Owner) -> None:
    plugins_fd = safe_files.make_subdirectory(state_fd, _NEW_PLUGINS)
    try:
        os.fchown(plugins_fd, owner[0], owner[1])
        os.fchmod(plugins_fd, 0o755)
        os.fsync(plugins_fd)
    finally:
        os.close(plugins_fd)
    try:
        safe_files.rename_to_absent(state_fd, _NEW_PLUGINS, config_fd, PLUGINS)
    except FileExistsError:
        with contextlib.suppress(OSError):
            os.rmdir(_NEW_PLUGINS, dir_fd=state_fd)
