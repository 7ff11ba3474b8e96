# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""One writer per workspace: a lock file, held with ``flock``, so the kernel gives it back when its holder dies."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any, Iterator, Mapping

from .errors import BusyError

_NAME = "lock"
_POLL_SECONDS = 0.2
_MAX_BYTES = 8192


@contextlib.contextmanager
def writer_lock(state_fd: int, job: Mapping[str, Any], timeout: float, label: str) -> Iterator[None]:
    """Hold the lock in the directory ``state_fd``; wait for it at most ``timeout`` seconds.

    ``job`` says to others who holds it, ``label`` is the workspace's config dir. Raises :class:`BusyError`, which names the holder.
    """
    lock_fd = os.open(_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=state_fd)
    try:
        _acquire(lock_fd, timeout, label)
        holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "job": dict(job)}
        # The name in the file is a courtesy: a full disk must not keep anybody from the lock. What is then done under it may still need room: a removal
        # writes some hundred bytes (journal, receipt, record) before it frees any, and says so where it cannot.
        with contextlib.suppress(OSError):
            os.ftruncate(lock_fd, 0)
            os.pwrite(lock_fd, json.dumps(holder, sort_keys=True).encode("ascii"), 0)
        yield
        with contextlib.suppress(OSError):
            os.ftruncate(lock_fd, 0)
    finally:
        os.close(lock_fd)


def _acquire(lock_fd: int, timeout: float, label: str) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
        left = deadline - time.monotonic()
        if left <= 0:
            raise BusyError(
                f"another run is changing the plugins in {label} ({_holder(lock_fd)}) and did not finish within {timeout:g} s: "
                "wait for it and run again, or raise lock_timeout"
            )
        time.sleep(min(_POLL_SECONDS, left))


def _holder(lock_fd: int) -> str:
    try:
        holder = json.loads(os.pread(lock_fd, _MAX_BYTES, 0).decode("utf-8"))
        job = ", ".join(f"{key} {value}" for key, value in sorted(holder["job"].items()))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}" + (f", job {job}" if job else "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return "it has not said who it is"
