# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file in which a watch remembers the fleet, so that the next one sees what has changed meanwhile. Replaced as a whole, readable by its owner only."""
from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from pathlib import Path

from ..module_utils.errors import WorkspaceError
from .fleet_watch import Record, Watch, records_from_data

_VERSION = 1


class WatchFile:
    """One watch's file; a second watch with the same one is refused. Everything raises :class:`WorkspaceError`."""

    def __init__(self, path: str) -> None:
        self._path = Path(path).expanduser().absolute()
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._error("cannot be used", error, "check the directory and its permissions") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise WorkspaceError(f"another watch uses the state file {self._path}: end it, or give this one a state_file of its own") from error

    def close(self) -> None:
        """Let another watch use the file."""
        os.close(self._lock)

    def load(self) -> dict[str, Record] | None:
        """What was remembered; ``None`` if there is no file yet. A file that cannot be read is an error: forgetting would be silent."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error("cannot be read", error, "check its permissions") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            os.close(descriptor)
            raise WorkspaceError(f"state file {self._path} is not a file of yours: remove it, or give another state_file")
        try:
            with open(descriptor, encoding="utf-8") as stream:
                data = json.load(stream)
            if data["version"] != _VERSION:
                raise ValueError("it is of another version")
            return records_from_data(data["workspaces"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorkspaceError(
                f"state file {self._path} is damaged ({error}): remove it, and run the playbook molecule_ai.workspace.sync once, since changes may be missed"
            ) from error

    def save(self, watch: Watch) -> None:
        """Remember what the watch knows, at once: whoever reads sees the old content or the new one."""
        temporary = None
        try:
            descriptor, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
            with open(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"version": _VERSION, "workspaces": watch.to_data()}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self._path)
            temporary = None
        except OSError as error:
            raise self._error("cannot be written", error, "check the directory, its permissions and the space there") from error
        finally:
            if temporary:
                os.unlink(temporary)

    def _error(self, what: str, error: OSError, advice: str) -> WorkspaceError:
        return WorkspaceError(f"state file {self._path} {what} ({error.strerror}): {advice}")
