# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that a run makes once, whatever number of hosts and forked workers ask for them."""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Mapping

from ansible import constants as C

from ..module_utils.errors import WorkspaceError
from . import run_directories

_FAILURE_SUFFIX = ".failed"
_LOCK_SUFFIX = ".lock"


class RunCache:
    """A private directory that the workers of one run share.

    ``root`` is normally a directory inside Ansible's ``DEFAULT_LOCAL_TMP``, which is private to the user, common to all
    workers of a run, and removed when the run ends.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @classmethod
    def of_run(cls) -> RunCache:
        """Return the one that this run's workers share."""
        return cls(Path(C.DEFAULT_LOCAL_TMP) / run_directories.CACHE)

    def once(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the directory for ``key``; the first caller of the run makes it, the others wait for it.

        ``make`` gets an empty directory and fills it. The directory becomes visible under its key only when ``make`` has returned,
        so a caller that died half-way leaves nothing behind that another one would trust.

        A :class:`WorkspaceError` of ``make`` is also raised in the callers that were waiting meanwhile: when a git server does not
        answer, five workers wait for one time limit and not for five. A caller that comes later tries again.
        """
        if not self._root.is_dir():
            self._root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            run_directories.enter(str(self._root.parent))
            self._root.mkdir(mode=0o700, exist_ok=True)
        final = self._root / key
        if final.is_dir():
            return final
        asked_at = time.time_ns()
        with self._locked(key):
            if final.is_dir():
                return final
            failure = self._root / (key + _FAILURE_SUFFIX)
            _raise_failure_since(failure, asked_at)
            building = Path(tempfile.mkdtemp(prefix=key + ".", dir=self._root))
            try:
                make(building)
                building.rename(final)
            except WorkspaceError as error:
                failure.write_text(json.dumps({"time": time.time_ns(), "message": str(error)}), encoding="utf-8")
                raise
            finally:
                shutil.rmtree(building, ignore_errors=True)
        return final

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        descriptor = os.open(self._root / (key + _LOCK_SUFFIX), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def cache_key(prefix: str, fields: Mapping[str, object]) -> str:
    """Return a file name that is the same for equal ``fields`` (JSON-able) and different for different ones."""
    serialised = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return f"{prefix}-{hashlib.sha256(serialised).hexdigest()}"


def _raise_failure_since(failure: Path, asked_at: int) -> None:
    """Raise the failure that was recorded while the caller waited for the lock (``asked_at``: nanoseconds since the epoch)."""
    try:
        record = json.loads(failure.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    if record["time"] >= asked_at:
        raise WorkspaceError(record["message"])
