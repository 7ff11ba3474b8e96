# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ``diff`` of a task's result as unified diffs, one for each file. The texts come from workspaces, so nothing in them is trusted."""
from __future__ import annotations

import difflib
import re
from typing import Any

from ..module_utils.printable import printable

_PLUGIN = re.compile(r"(?:plugins/|placements of plugin )([a-z0-9][a-z0-9._-]*)")
_MAX_LINE = 2000


def diffs_of(value: object) -> list[dict[str, Any]]:
    """Return ``[{"plugin", "title", "text"}]`` for the ``diff`` of a result; ``plugin`` is None where the diff names none."""
    diffs = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            continue
        if "prepared" in item:
            lines = str(item["prepared"]).splitlines()
            title = lines[0] if lines else ""
        else:
            title = str(item.get("after_header") or item.get("before_header") or "")
            lines = _unified(str(item.get("before") or ""), str(item.get("after") or ""), str(item.get("before_header") or ""), title)
        found = _PLUGIN.match(title)
        if lines:
            diffs.append({"plugin": found[1] if found else None, "title": printable(title), "text": "\n".join(map(_line, lines))})
    return diffs


def _unified(before: str, after: str, before_header: str, after_header: str) -> list[str]:
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), before_header, after_header, lineterm=""))


def _line(line: str) -> str:
    return "\t".join(printable(part, _MAX_LINE) for part in line.split("\t"))
