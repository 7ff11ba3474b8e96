# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a fleet's audits: one line of JSON for each, only ever appended."""
from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from ..module_utils.errors import WorkspaceError
from .audit_record import WORKSPACE_STATES
from .audit_report import Report

_MAX_LINES = 400
_TAIL_BYTES = 1024 * 1024


def append(path: Path, report: Report) -> None:
    """Append the report's totals. Raises :class:`WorkspaceError`.

    Several controllers may append at once. A line that a dying run has cut short is ended first, so that it spoils nothing but itself.
    """
    line = json.dumps({"finished": report["finished"], **_numbers(report["totals"])}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            end = stream.seek(0, os.SEEK_END)
            cut = False
            if end:
                stream.seek(end - 1)
                cut = stream.read(1) != b"\n"
            stream.write((b"\n" if cut else b"") + line.encode())
    except OSError as error:
        raise WorkspaceError(f"history {path} cannot be appended to ({error.strerror}): check the directory and its permissions") from error


def read(path: Path) -> list[dict[str, Any]]:
    """Return the newest entries, oldest first; lines that cannot be read are left out. Raises :class:`WorkspaceError`."""
    try:
        with path.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - _TAIL_BYTES))
            lines = stream.read().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WorkspaceError(f"history {path} cannot be read ({error.strerror}): check the path") from error
    entries = [entry for entry in map(_entry, lines) if entry is not None]
    return sorted(entries, key=lambda entry: str(entry["finished"]))[-_MAX_LINES:]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get("finished"), str):
        return None
    numbers = {key: data.get(key) for key in ("workspaces", *WORKSPACE_STATES)}
    if not all(isinstance(value, int) and value >= 0 for value in numbers.values()):
        return None
    return {"finished": data["finished"], **numbers}


def _numbers(totals: dict[str, Any]) -> dict[str, int]:
    return {key: totals[key] for key in ("workspaces", *WORKSPACE_STATES, "restart_pending", "failures")}
