# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several reports as one: slices of a fleet, several controllers, or a look again at what had drifted. No input or output here."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .audit_record import Record
from .audit_report import Report, new_report


def merge(reports: Sequence[Report]) -> Report:
    """Return one report in which each workspace is once, as it was looked at last; that it was in several is listed in ``conflicts``.

    A workspace is its id, whatever a controller calls it. A record without an id is about the workspace that another record with the same
    host name identifies, if there is exactly one. Equal times are settled by the worse state, so that the order of ``reports`` does not matter.
    A source of an inventory that failed stays failed: nothing tells that a later run has asked the same source.
    """
    runs: dict[str, dict[str, Any]] = {run["id"]: run for report in reports for run in report["runs"]}
    known = {_as_text(conflict): conflict for report in reports for conflict in report["conflicts"]}
    records = [record for report in reports for record in report["workspaces"]]
    ids = ids_by_host(records)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault(identity(record, ids), []).append(record)
    chosen: list[Record] = []
    for group in groups.values():
        distinct = list({_as_text(record): record for record in group}.values())
        distinct.sort(key=_newest_first, reverse=True)
        newest = distinct[0]
        if newest["workspace_id"] is None:
            newest = {**newest, "workspace_id": next((record["workspace_id"] for record in distinct if record["workspace_id"]), None)}
        chosen.append(newest)
        for older in distinct[1:]:
            conflict = _conflict(newest, older)
            known[_as_text(conflict)] = conflict
    conflicts = sorted(known.values(), key=lambda conflict: (str(conflict["host"]), str(conflict["dropped"])))
    ordered_runs = sorted(runs.values(), key=lambda run: (run["started"], run["id"]))
    failures = [failure for report in reports for failure in report["failures"]]
    return new_report(ordered_runs, sorted(chosen, key=lambda record: (record["host"], record["workspace_id"] or "")), conflicts, failures)


def ids_by_host(records: Iterable[Record]) -> dict[str, set[str]]:
    """Return which workspaces each host name stands for."""
    ids: dict[str, set[str]] = {}
    for record in records:
        if record["workspace_id"]:
            ids.setdefault(record["host"], set()).add(record["workspace_id"])
    return ids


def identity(record: Record, ids: Mapping[str, set[str]]) -> tuple[str, str]:
    """Return what is equal for records about one workspace, by what :func:`ids_by_host` says of all of them."""
    if record["workspace_id"]:
        return "id", record["workspace_id"]
    same_host = ids.get(record["host"], set())
    return ("id", next(iter(same_host))) if len(same_host) == 1 else ("host", record["host"])


def _newest_first(record: Record) -> tuple[str, bool, bool, str]:
    # Never looked at is older than anything; at the same moment what is worse counts, and at last any fixed order.
    return record["checked"] or "", record["state"] == "unknown", record["state"] != "in_sync", _as_text(record)


def _conflict(kept: Record, dropped: Record) -> dict[str, Any]:
    def in_short(record: Record) -> dict[str, Any]:
        return {key: record[key] for key in ("host", "run", "checked", "state")}

    return {"host": kept["host"], "workspace_id": kept["workspace_id"], "kept": in_short(kept), "dropped": in_short(dropped)}


def _as_text(value: object) -> str:
    return repr(value)
