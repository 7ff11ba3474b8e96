# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that the lab starts and stops: by pid file, and only while the pid is still the process that was started."""
from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import time


def read_pid(path: pathlib.Path) -> int | None:
    """The process id in a pid file; None when there is none."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def is_alive(pid: int, argument: str) -> bool:
    """True when process ``pid`` runs and ``argument`` is in its command line (so that a reused pid is not mistaken for ours)."""
    try:
        command_line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return argument.encode() in command_line.split(b"\0")


def stop_process(pid: int, argument: str, *, timeout: float) -> None:
    """Ask process ``pid`` to end, kill it when it has not after ``timeout`` seconds; nothing happens to any other process."""
    if is_alive(pid, argument):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while is_alive(pid, argument):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            break
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # when it is our own child
        time.sleep(0.1)
