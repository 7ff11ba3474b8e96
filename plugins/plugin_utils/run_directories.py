# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private directories of runs on the controller: core removes them when a run ends, and a run that is killed leaves them behind."""
from __future__ import annotations

import contextlib
import os
import re
import shutil

CACHE = "molecule_ai_workspace"
"""In the private directory of a run: what its workers share."""

KEY = "eic-key"
"""There, too: the run's ephemeral key."""

OWNER = "owner"
"""Beside the key: when the run's process started."""

_CONNECTION_PREFIX = "eic-"
# core names the private directory of a run by the process id and eight random characters
_RUN_DIRECTORY = re.compile(r"ansible-local-([0-9]+)[a-z0-9_]{8}")


def sweep(parent: str) -> None:
    """Remove keys, tickets and packed plugins that killed runs have left in their private directories below ``parent``; what lives, or isn't ours, is left
    alone."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            directory = os.path.join(parent, name)
            if _RUN_DIRECTORY.fullmatch(name) and not os.path.islink(directory) and os.stat(directory).st_uid == os.geteuid() and _is_over(directory):
                _remove_ours(directory)


def _remove_ours(directory: str) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if name == CACHE or name.startswith(KEY):
                shutil.rmtree(path, ignore_errors=True)
            elif name.startswith(_CONNECTION_PREFIX):
                os.unlink(path)
        # what else core has left keeps it
        os.rmdir(directory)


def _is_over(directory: str) -> bool:
    """Whether the run of this private directory has ended: its process is gone, or the process id is another one's by now."""
    process = process_of(directory)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        with open(os.path.join(directory, KEY, OWNER), encoding="ascii") as file:
            recorded = file.read()
    except OSError:
        return False
    return recorded != started_at(process)


def process_of(directory: str) -> int:
    """The process id of the run whose private directory this is; 0 (which is always alive) when its name does not say."""
    match = _RUN_DIRECTORY.fullmatch(os.path.basename(os.path.abspath(directory)))
    return int(match[1]) if match else 0


def started_at(process: int) -> str:
    """When a process started, in the kernel's ticks; empty when it has ended (but nobody has taken note), and where there is no /proc to ask."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            # behind the name, which may contain anything, "starttime" is the 20th field
            fields = file.read().rpartition(")")[2].split()
            return "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        return ""
