# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a shared connection, since when nobody does, and until when its tunnel may live: one small file per ControlPath.

Every command and transfer holds a shared lock on the file while it runs, so what can be locked exclusively is idle; the file's time is that of the last use.
The file lies in the state directory, not beside the socket, because it outlives the socket.
"""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import typing as t

from .eic_budget import Holder

_T = t.TypeVar("_T")

IDLE_SECONDS = 1.0
"""A connection that was used less than this ago is not idle: its play's next task is probably on its way, and opening anew costs about as much."""

_LETTING_GO = 2.0
"""Seconds that a connection without sessions may take to end after it was told to. What holds its slot for longer has a session that nobody waits for any
more (its play was killed), and may keep it for as long as that command runs."""

_FORGET_AFTER = 86400.0


def path(directory: str, control_path: str) -> str:
    """The file below the state directory ``directory`` for ``control_path``."""
    return os.path.join(directory, "connections", hashlib.sha256(os.fsencode(control_path)).hexdigest()[:24])


@contextlib.contextmanager
def using(file: str) -> t.Iterator[None]:
    """Say that the connection is in use; waits while someone is just giving it up. Raises :class:`OSError`."""
    os.makedirs(os.path.dirname(file), 0o700, exist_ok=True)
    descriptor = _locked(file)
    try:
        os.utime(descriptor)
        yield
    finally:
        os.utime(descriptor)
        os.close(descriptor)


def _locked(file: str) -> int:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
        # swept meanwhile
        os.close(descriptor)


def stop_least_recently_used(
    holders: t.Iterable[Holder], wanted: int, is_alive: t.Callable[[str], bool], stop: t.Callable[[str], bool]
) -> int:
    """Let ``stop`` end the connections that have been idle for the longest time; how many it has ended.

    They are as many as are ``wanted``, less those that were ended a moment ago and have not let go of their slot yet.
    ``holders`` name their ``control_path`` and ``use_file``. ``stop`` gets a ControlPath, and is called under the exclusive lock.
    """
    latest = time.time() - IDLE_SECONDS
    candidates: list[tuple[float, str, str]] = []
    for holder in holders:
        with contextlib.suppress(OSError, KeyError):
            used = os.stat(holder["use_file"]).st_mtime
            if used <= latest:
                candidates.append((used, holder["use_file"], holder["control_path"]))
    stopped = 0
    # two slots may be one connection's: that of a tunnel at its end, and that of the one in its place
    for used, file, control_path in sorted(set(candidates)):
        if wanted <= 0:
            break
        with _unused(file) as descriptor:
            if descriptor is None or os.fstat(descriptor).st_mtime != used:
                continue
            if not is_alive(control_path):
                wanted -= time.time() - _LETTING_GO < _recorded(file, "stopped", 0.0) <= time.time()
            elif stop(control_path):
                _record(file, "stopped", time.time())
                wanted -= 1
                stopped += 1
    return stopped


@contextlib.contextmanager
def _unused(file: str) -> t.Iterator[int | None]:
    """The exclusive lock on ``file`` without waiting; yields its descriptor, or ``None`` while the connection is in use."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def record_end(file: str, when: float) -> None:
    """Note that the connection's tunnel ends at ``when`` (seconds since the epoch)."""
    _record(file, "ends", when)


def recorded_end(file: str) -> float | None:
    """When the connection's tunnel ends; ``None`` when nobody has noted it."""
    return _recorded(file, "ends", None)


def _record(file: str, name: str, when: float) -> None:
    """Note one time, without the others, which were those of an earlier connection or matter no more; the file's own time is left alone."""
    content = json.dumps({name: when}).encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(descriptor)


def _recorded(file: str, name: str, default: _T) -> float | _T:
    try:
        with open(file, encoding="ascii") as stream:
            return float(json.load(stream)[name])
    except (OSError, ValueError, KeyError, TypeError):
        return default


def sweep(directory: str) -> None:
    """Remove the files of connections that nobody has used for a day, so that they do not pile up with the instances that come and go."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(os.path.join(directory, "connections")):
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < time.time() - _FORGET_AFTER:
                    with _unused(entry.path) as descriptor:
                        if descriptor is not None and os.fstat(descriptor).st_mtime < time.time() - _FORGET_AFTER:
                            os.unlink(entry.path)
