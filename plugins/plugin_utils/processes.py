# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of controllers, by names that mean one process for ever and everywhere: who left something, and whether it is still at work."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os

_ZOMBIE = "Z"


def name_of(process: int) -> str:
    """The name of a living process; empty where nobody could tell from it whether the process has ended.

    Its shape is ``<where process ids mean the same>-<process id>-<when it started>``, as 16 hexadecimal digits and two numbers.
    """
    here, started = _here(), started_at(process)
    return f"{here}-{process}-{started}" if here and started else ""


def is_over(name: str) -> bool:
    """Whether the process that ``name`` names has ended, for sure: one whose end cannot be seen from here is taken for alive."""
    where, _dash, rest = name.partition("-")
    process, _dash, started = rest.partition("-")
    return bool(where) and where == _here() and process.isdecimal() and has_ended(int(process), started)


def has_ended(process: int, started: str) -> bool:
    """Whether the process of this id that started then (see :func:`started_at`) has ended, given that it was one of :func:`place`."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    state, started_then = _status(process)
    return state == _ZOMBIE or started_then not in ("", started)


def place() -> list[str]:
    """Where process ids mean the same as here: the running kernel, and the process id namespace in it. The same everywhere where there is no /proc."""
    kernel = namespace = ""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        kernel = file.read().strip()
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return [kernel, namespace]


def started_at(process: int) -> str:
    """When a process started, in the kernel's ticks; empty when it has ended (but nobody has taken note), and where that cannot be seen."""
    state, started = _status(process)
    return "" if state == _ZOMBIE else started


def _status(process: int) -> tuple[str, str]:
    """The kernel's letter for what the process does, and when it started; both empty where that cannot be seen."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
            # behind the name, which may contain anything, these are the first and the 20th field
            fields = file.read().rpartition(")")[2].split()
            return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _here() -> str:
    """:func:`place` in short; empty where it does not tell this controller from others."""
    here = place()
    return hashlib.sha256(json.dumps(here).encode()).hexdigest()[:16] if all(here) else ""
