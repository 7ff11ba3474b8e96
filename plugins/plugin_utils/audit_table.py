# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of an audit on a terminal: a table of what needs a person, and one line of totals."""
from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ..module_utils.printable import printable
from .audit_record import MISSING_RUNS, Failure, Record
from .audit_report import Report

_TITLES = ("workspace", "tier", "state", "plugins", "what")
_WORDS = {"in_sync": "in sync", "drift": "DRIFT", "unknown": "UNKNOWN", "external": "external", "none": "NONE"}
_ORDER = ("unknown", "none", "drift", "external", "in_sync")
_MIN_WHAT = 20


def as_table(report: Report, width: int, max_rows: int, every: bool = False) -> list[str]:
    """Return the lines, all but the last at most ``width`` columns: what could not be looked at first; with ``every``, also what is in sync."""
    shown = [record for record in report["workspaces"] if every or record["state"] not in ("in_sync", "external")]
    shown.sort(key=lambda record: (_ORDER.index(record["state"]), record["host"]))
    lines = [_cut(_failure(failure), width) for failure in report["failures"][:max_rows]]
    if shown:
        rows = [_row(record) for record in shown[:max_rows]]
        lines += _aligned([_TITLES, *rows], width)
        if len(shown) > max_rows:
            lines.append(f"and {len(shown) - max_rows} more")
    return [*lines, summary(report)]


def summary(report: Report) -> str:
    """Return the totals in one line."""
    totals = report["totals"]
    parts = [f"{totals[state]} {text}" for state, text in (("in_sync", "in sync"), ("drift", "drifted"), ("unknown", "unknown"), ("none", "not there"))]
    parts += [f"{totals[state]} {text}" for state, text in (("external", "external"), ("restart_pending", "waiting for a restart")) if totals[state]]
    text = f"Audit of {totals['workspaces']} workspace{'' if totals['workspaces'] == 1 else 's'}: {', '.join(parts)}"
    failures = sum(failure["type"] != MISSING_RUNS for failure in report["failures"])
    causes = [f"{failures} source{'' if failures == 1 else 's'} of the inventory failed"] if failures else []
    causes += ["runs are missing"] if failures < totals["failures"] else []
    return text + (f"; workspaces may be missing, for {' and '.join(causes)}" if causes else "")


def _failure(failure: Failure) -> str:
    if failure["type"] == MISSING_RUNS:
        return printable(f"runs  MISSING  {failure['reason']}")
    where = ", ".join(filter(None, (failure["type"], failure["inventory"])))
    name = f"{failure['source']} ({where})" if failure["source"] and where else failure["source"] or where
    return printable(f"inventory  FAILED  {name}: {failure['reason']}")


def _row(record: Record) -> tuple[str, ...]:
    plugins = record["plugins"]
    good = sum(plugin["state"] == "in_sync" for plugin in plugins)
    what = record["reason"] or ", ".join(
        f"{plugin['name']} {plugin['state'].replace('_', ' ')}" + (f" ({plugin['drift_count']})" if plugin["drift_count"] > 1 else "")
        for plugin in plugins
        if plugin["state"] != "in_sync"
    )
    return record["host"], record["tier"] or "", _WORDS[record["state"]], f"{good}/{len(plugins)}" if plugins else "", what


def _aligned(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(_columns(row[index]) for row in cells) for index in range(len(_TITLES) - 1)]
    # A very long host name must not push out what is wrong with it.
    widths[0] = max(len(_TITLES[0]), min(widths[0], width - sum(widths[1:]) - 2 * len(widths) - _MIN_WHAT))
    lines = []
    for row in cells:
        text = "  ".join([*(_fit(cell, column) for cell, column in zip(row, widths)), row[-1]])
        lines.append(_cut(text, width).rstrip())
    return lines


def _fit(text: str, columns: int) -> str:
    cut = _cut(text, columns)
    return cut + " " * (columns - _columns(cut))


def _cut(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    kept = ""
    for character in text:
        if _columns(kept + character) > columns - 1:
            break
        kept += character
    return kept + "…"


def _columns(text: str) -> int:
    """Return how wide a terminal shows the text."""
    return sum(0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
