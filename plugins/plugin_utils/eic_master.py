# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared connection: ssh's ControlPersist master, which outlives tasks, workers and plays. Is it there, and start it, once per host at a time."""
from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import random
import secrets
import signal
import socket
import stat
import subprocess
import tempfile
import time
import typing as t

from . import eic_identity

_FORGET_AFTER = 600.0
"""Seconds after which nobody comes for a report or finishes to bind a socket any more."""


ENVIRONMENT = {"SHELL": "/bin/sh"}
"""For every ssh that may run a ProxyCommand: it takes the user's login shell for that, which may be /bin/false or no POSIX shell at all."""

_MARK = "MOLECULE_AI_EIC_LOGIN"


class LockTimeout(Exception):
    """Another process has held the lock for longer than the wait that was allowed."""


class LoginTimeout(Exception):
    """ssh did not log in within the time that was allowed; it and its tunnel have been ended."""


class MasterMissing(Exception):
    """ssh logged in, but nobody listens at the ControlPath; it and its tunnel have been ended."""


def is_alive(control_path: str) -> bool:
    """Whether a master listens at ``control_path``: what ``ssh -O check`` finds out, without a process."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(control_path)
        except OSError:
            return False
    return True


def identity(control_path: str) -> tuple[int, int] | None:
    """What tells one master at ``control_path`` from the next one there; ``None`` without any."""
    try:
        status = os.stat(control_path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def stop(executable: str, control_path: str) -> bool:
    """Let the master at ``control_path`` end as soon as its last session has, and take no new ones; whether there was one that agreed to."""
    if not is_alive(control_path):
        return False
    command = [executable, "-F", "none", "-o", f"ControlPath={eic_identity.quoted_path(control_path)}", "-O", "stop", "eic"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10, check=False)  # noqa: S603 - a list of arguments, no shell
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextlib.contextmanager
def serialised(path: str, timeout: float) -> t.Iterator[None]:
    """Hold the lock file ``path``, so that parallel first tasks on one host share one tunnel; the file is removed afterwards.

    The kernel frees the lock when its holder dies. Raises :class:`LockTimeout` after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _locked(descriptor, end) and _is_current(descriptor, path):
                try:
                    yield
                finally:
                    # removed while it is still held: who waits for it finds a file without a name, and opens anew
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                return
        finally:
            os.close(descriptor)
        if time.monotonic() >= end:
            raise LockTimeout


def sweep(directory: str) -> None:
    """Remove what killed processes have left in the directory of the ControlPaths: locks that nobody holds, and sockets at which nobody listens and reports
    that nobody has come for, both after some minutes. What is not named as ours is left alone."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            if entry.name.startswith(eic_identity.CONTROL_PREFIX):
                with contextlib.suppress(OSError):
                    _sweep(entry)


def _sweep(entry: os.DirEntry[str]) -> None:
    status = entry.stat(follow_symlinks=False)
    old = status.st_mtime < time.time() - _FORGET_AFTER
    if stat.S_ISSOCK(status.st_mode):
        if old and not is_alive(entry.path):
            # under the lock of those that open a connection there: theirs must not be taken for the dead one
            with contextlib.suppress(LockTimeout), serialised(f"{entry.path}.lock", 0):
                if identity(entry.path) == (status.st_ino, status.st_mtime_ns) and not is_alive(entry.path):
                    os.unlink(entry.path)
    elif entry.name.endswith(".lock"):
        # to hold it is to remove it
        with contextlib.suppress(LockTimeout), serialised(entry.path, 0):
            pass
    elif old and ".status" in entry.name and stat.S_ISREG(status.st_mode):
        os.unlink(entry.path)


def _locked(descriptor: int, end: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(random.uniform(0.02, 0.08))  # noqa: S311 - spreads load, guards nothing


def _is_current(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def start(command: t.Sequence[bytes], timeout: float, control_path: str) -> tuple[int, str]:
    """Run an ``ssh -f -N`` that goes into the background once it has logged in, and then listens at ``control_path``; return its exit status and what it
    wrote to stderr.

    It gets a session of its own: Ctrl-C on a play must not reach a connection that others use. Raises :class:`LoginTimeout`, :class:`MasterMissing` and
    :class:`OSError`.
    """
    mark = secrets.token_hex(16)
    # a file, not a pipe: the background process may keep it open
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True,
            env={**os.environ, **ENVIRONMENT, _MARK: mark},
        ) as process:
            try:
                status = process.wait(timeout)
            except BaseException as error:
                _end(process, mark)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise LoginTimeout from error
                raise
        if status == 0 and not is_alive(control_path):
            _end(process, mark)
            raise MasterMissing
        messages.seek(0)
        return status, messages.read(65536).decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """End ssh and its tunnel process; a hang-up first, which lets the tunnel free its slot at the endpoint.

    ssh leaves the process group when it goes into the background. It is found by the ``mark`` in its environment, or ends because its tunnel does.
    """
    for number in (signal.SIGHUP, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        for each in _marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)
        end = time.monotonic() + 1
        # poll() takes note of its end, without which it would count for ever
        while time.monotonic() < end and (process.poll() is None or _has_members(process.pid) or _marked(mark)):
            time.sleep(0.02)


def _has_members(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, 0)
        return True
    return False


def _marked(mark: str) -> list[int]:
    """The living processes that were started with ``mark``; none where there is no /proc to ask."""
    found, wanted = [], f"{_MARK}={mark}".encode()
    for path in glob.glob("/proc/[0-9]*/environ"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if wanted in file.read().split(b"\0"):
                found.append(int(path.split("/")[2]))
    return found
