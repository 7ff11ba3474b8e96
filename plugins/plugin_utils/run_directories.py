# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private directories of runs on the controller: core removes them when a run ends, and a run that is killed leaves them behind."""
from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time

from . import processes

CACHE = "molecule_ai_workspace"
"""In the private directory of a run: what its workers share."""

KEY = "eic-key"
"""There, too: the run's ephemeral key."""

OWNER = "eic-owner"
"""There, before anything else of ours: where the run's process lives, and when it started."""

FOREIGN_AGE = 7 * 86400.0
"""Seconds since the last change after which the directory of a run that lives where we cannot look is taken for one that was killed."""

_CONNECTION_PREFIX = "eic-"
# core names the private directory of a run by the process id and eight random characters
_RUN_DIRECTORY = re.compile(r"ansible-local-([0-9]+)[a-z0-9_]{8}")


def enter(directory: str) -> None:
    """To be called before anything is put into the private ``directory`` of this run. The first time, it says there whose it is, and removes what killed
    runs have left in theirs. Raises :class:`OSError`."""
    owner = os.path.join(directory, OWNER)
    if os.path.exists(owner):
        return
    temporary = f"{owner}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump({"place": processes.place(), "started": processes.started_at(process_of(directory))}, file)
    os.replace(temporary, owner)
    parent, own = os.path.split(os.path.abspath(directory))
    sweep(parent, own)


def sweep(parent: str, own: str = "") -> None:
    """Remove keys, tickets and packed plugins that killed runs have left in their private directories below ``parent``; what lives, isn't ours, or is the
    run's ``own`` is left alone."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            directory = os.path.join(parent, name)
            if name == own or not _RUN_DIRECTORY.fullmatch(name) or os.path.islink(directory):
                continue
            if os.stat(directory).st_uid == os.geteuid() and _is_over(directory):
                _remove_ours(directory)


def _remove_ours(directory: str) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if name == CACHE or name.startswith(KEY):
                shutil.rmtree(path, ignore_errors=True)
            elif name.startswith(_CONNECTION_PREFIX) and name != OWNER:
                os.unlink(path)
        # last: without it nobody could tell that what is left may go
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, OWNER))
        # what else core has left keeps it
        os.rmdir(directory)


def _is_over(directory: str) -> bool:
    """Whether the run of this private directory has ended: its process is gone, or the process id is another one's by now.

    A home directory may be shared with other hosts and containers, whose processes we cannot see: there, only time tells. A run that has not said whose
    its directory is has put nothing of ours there.
    """
    try:
        with open(os.path.join(directory, OWNER), encoding="ascii") as file:
            recorded = json.load(file)
        is_here, started = recorded["place"] == processes.place(), recorded["started"]
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        is_here, started = False, None
    if not is_here:
        return os.stat(directory).st_mtime < time.time() - FOREIGN_AGE
    return processes.has_ended(process_of(directory), started)


def process_of(directory: str) -> int:
    """The process id of the run whose private directory this is; 0 (which is always alive) when its name does not say."""
    match = _RUN_DIRECTORY.fullmatch(os.path.basename(os.path.abspath(directory)))
    return int(match[1]) if match else 0
