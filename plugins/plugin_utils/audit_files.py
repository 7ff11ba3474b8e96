# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a report becomes, for the callback and the command alike."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..module_utils.errors import InvalidInputError
from . import audit_history, audit_report
from .audit_junit import as_junit
from .audit_page import as_page
from .audit_report import Report, as_json

_NAMES = {"json": "drift.json", "junit": "drift.xml", "html": "drift.html"}
FORMATS = tuple(_NAMES)
HISTORY_NAME = "drift-history.jsonl"


def write_files(report: Report, directory: Path, formats: Sequence[str], history: Path | None, title: str, append: bool = True) -> list[Path]:
    """Write the report in these formats and return the paths. Raises :class:`WorkspaceError`.

    ``history``: the file whose entries the page plots, ``append``: after the totals of this report have been added to it.
    """
    for name in formats:
        if name not in _NAMES:
            raise InvalidInputError(f"format {name!r} of a report is unknown: use {', '.join(FORMATS)}")
    if history is not None and append:
        audit_history.append(history, report)
    make: dict[str, Callable[[], str]] = {
        "json": lambda: as_json(report),
        "junit": lambda: as_junit(report),
        "html": lambda: as_page(report, audit_history.read(history) if history is not None else [], title),
    }
    paths = []
    for name in dict.fromkeys(formats):
        path = directory / _NAMES[name]
        audit_report.write(path, make[name]())
        paths.append(path)
    return paths
