# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one page that needs nothing else: no network, no other file, a content security policy that allows only its own script.

What comes from workspaces (names, paths, diffs) is in the page as data only. The script shows it as text and never as markup.
"""
from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .audit_record import FAILURE_FIELDS, PLUGIN_STATES, WORKSPACE_STATES, Record
from .audit_report import Report

_DIRECTORY = Path(__file__).with_name("audit_page_files")
_SCRIPTS = ("words.js", "details.js", "heat_map.js", "overview.js", "page.js")
_RUN_FIELDS = ("started", "finished", "controller", "user", "playbook", "job")

# In a script element these could end it, or be taken for markup by something that copies the page.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


class _Strings:
    """Texts by number: the same diff on a thousand workspaces is in the page once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Return the number of a text, -1 for none."""
        if text is None:
            return -1
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def as_page(report: Report, history: Sequence[dict[str, Any]], title: str) -> str:
    """Return the HTML."""
    style = _source("page.css")
    script = "(() => {\n\"use strict\";\n" + "\n".join(_source(name) for name in _SCRIPTS) + "\n})();\n"
    values = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
        "style": style,
        "script": script,
        "data": json.dumps(page_data(report, history, title), ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES),
    }
    page = _source("page.html")
    parts = page.split("@@")
    # Every second part is the name of a value. Nothing is replaced inside values, so data cannot pose as a place holder.
    return "".join(values[part] if index % 2 else part for index, part in enumerate(parts))


def page_data(report: Report, history: Sequence[dict[str, Any]], title: str) -> dict[str, Any]:
    """Return the data of the page: columns are plugins, rows are workspaces, a cell is one character, texts are numbers in ``strings``."""
    strings = _Strings()
    names = sorted({plugin["name"] for record in report["workspaces"] for plugin in record["plugins"]})
    columns = {name: index for index, name in enumerate(names)}
    runs = {run["id"]: index for index, run in enumerate(report["runs"])}
    rows = [_row(record, columns, runs, strings) for record in report["workspaces"]]
    return {
        "title": title,
        "started": report["started"],
        "finished": report["finished"],
        "runs": [[run.get(field) for field in _RUN_FIELDS] for run in report["runs"]],
        "totals": report["totals"],
        "failures": [[failure[field] for field in FAILURE_FIELDS] for failure in report["failures"]],
        "conflicts": len(report["conflicts"]),
        "workspaceStates": WORKSPACE_STATES,
        "pluginStates": PLUGIN_STATES,
        "plugins": names,
        "rows": rows,
        "history": [[entry["finished"], entry["workspaces"], *(entry[state] for state in WORKSPACE_STATES)] for entry in history],
        "strings": strings.texts,
    }


def _row(record: Record, columns: dict[str, int], runs: dict[str, int], strings: _Strings) -> list[Any]:
    """Return host, id, tier, runtime, state, reason, time, run, cells, versions, details of plugins that differ, diffs and notes."""
    cells, versions, details = ["."] * len(columns), [], []
    for plugin in sorted(record["plugins"], key=lambda plugin: columns[plugin["name"]]):
        column = columns[plugin["name"]]
        cells[column] = str(PLUGIN_STATES.index(plugin["state"]))
        versions.append(strings.number(plugin["installed_version"]))
        if plugin["state"] != "in_sync":
            entries = [[strings.number(entry[field]) for field in ("kind", "path", "expected", "observed")] for entry in plugin["drift"]]
            details.append([column, plugin["drift_count"], strings.number(plugin["version"]), entries])
    return [
        record["host"],
        record["workspace_id"],
        strings.number(record["tier"]),
        strings.number(record["runtime"]),
        WORKSPACE_STATES.index(record["state"]),
        strings.number(record["reason"]),
        record["checked"],
        runs.get(record["run"], -1),
        "".join(cells),
        versions,
        details,
        [[columns.get(diff.get("plugin") or "", -1), strings.number(diff["title"]), strings.number(diff["text"])] for diff in record["diffs"]],
        [strings.number(str(note)) for note in record["notes"]],
    ]


def _source(name: str) -> str:
    """Return a part of the page; its licence header stays, because the page is a work of its own wherever it goes."""
    return (_DIRECTORY / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
