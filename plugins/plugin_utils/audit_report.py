# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an audit, ``drift.json``: its totals, its policy, and how it is read and written. ``docs/drift-1.schema.json`` describes it."""
from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.printable import printable
from .audit_record import FAILURE_FIELDS, PLUGIN_STATES, WORKSPACE_STATES, Record

VERSION = 1
MAX_BYTES = 2 * 1024**3

# What a run may be told to fail on, and what of the exit status says so. "external" is nobody's failure.
EXIT_DRIFT = 2
EXIT_UNKNOWN = 4
_EXIT_BITS = {"drift": EXIT_DRIFT, "unknown": EXIT_UNKNOWN, "none": EXIT_UNKNOWN}
POLICIES = tuple(_EXIT_BITS)

Report = dict[str, Any]


def timestamp(seconds: float) -> str:
    """Return a point in time as in ``2026-11-22T13:57:15.250Z``: texts that sort as the times do."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def new_report(
    runs: Sequence[dict[str, Any]], workspaces: Sequence[Record], conflicts: Sequence[dict[str, Any]] = (), failures: Sequence[dict[str, str]] = ()
) -> Report:
    """Return a report about these workspaces; ``runs`` are what they were learnt in, ``failures`` the sources of the inventory that failed."""
    distinct = [dict(zip(FAILURE_FIELDS, values)) for values in sorted({tuple(failure[key] for key in FAILURE_FIELDS) for failure in failures})]
    return {
        "version": VERSION,
        "started": min((run["started"] for run in runs), default=None),
        "finished": max((run["finished"] for run in runs), default=None),
        "totals": {**totals(workspaces), "failures": len(distinct)},
        "runs": list(runs),
        "failures": distinct,
        "conflicts": list(conflicts),
        "workspaces": list(workspaces),
    }


def totals(workspaces: Iterable[Record]) -> dict[str, Any]:
    """Count workspaces by state, plugins by state, and the versions in use of each plugin."""
    records = list(workspaces)
    plugins = [plugin for record in records for plugin in record["plugins"]]
    versions: dict[str, Counter[str]] = {}
    for plugin in plugins:
        if plugin["installed_digest"] is not None:
            versions.setdefault(plugin["name"], Counter())[plugin["installed_version"] or "unknown"] += 1
    states, plugin_states = Counter(record["state"] for record in records), Counter(plugin["state"] for plugin in plugins)
    waiting = sum(any(entry["kind"] == "restart_pending" for plugin in record["plugins"] for entry in plugin["drift"]) for record in records)
    return {
        "workspaces": len(records),
        **{state: states[state] for state in WORKSPACE_STATES},
        "restart_pending": waiting,
        "plugins": {state: plugin_states[state] for state in PLUGIN_STATES},
        "versions": {name: dict(sorted(counter.items())) for name, counter in sorted(versions.items())},
    }


def exit_status(report: Report, fail_on: Iterable[str] = POLICIES) -> int:
    """Return 0, or the sum of 2 (something has drifted) and 4 (something could not be looked at, or is not there)."""
    status = 0
    for policy in fail_on:
        if policy not in _EXIT_BITS:
            raise InvalidInputError(f"fail_on {policy!r} is unknown: use {', '.join(POLICIES)}")
        # What a failed source of the inventory would have named could not be looked at either.
        if report["totals"][policy] or (policy == "unknown" and report["totals"]["failures"]):
            status |= _EXIT_BITS[policy]
    return status


def read(path: Path) -> Report:
    """Return the report in a file. Raises :class:`WorkspaceError` when it is none, or one that this version does not know."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInputError(f"report {path} is larger than {MAX_BYTES} bytes: split it")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkspaceError(f"report {path} cannot be read ({error.strerror}): check the path") from error
    except (ValueError, RecursionError) as error:
        raise WorkspaceError(f"report {path} is not JSON: give drift.json as an audit has written it") from error
    problem = _problem(data)
    if problem:
        raise WorkspaceError(f"report {path} cannot be used ({problem}): give drift.json as this version of the collection writes it")
    return new_report(data["runs"], data["workspaces"], data["conflicts"], data["failures"])


def write(path: Path, content: str) -> None:
    """Write a whole file or none, with the modes that the umask gives. Raises :class:`WorkspaceError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
                stream.write(content)
                os.fchmod(stream.fileno(), 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written ({error.strerror}): check the directory and its permissions") from error


def as_json(report: Report) -> str:
    """Return the text of ``drift.json``: one workspace a line, so that it can be searched and compared."""
    lines = [f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in report.items() if key != "workspaces"]
    rows = ",\n".join("  " + json.dumps(record, ensure_ascii=False) for record in report["workspaces"])
    return "{\n" + ",\n".join([*lines, f' "workspaces": [\n{rows}\n ]']) + "\n}\n"


def _umask() -> int:
    value = os.umask(0o077)
    os.umask(value)
    return value


# What a reader relies on, with the types that a value may have.
_TEXT, _TEXT_OR_NULL = (str,), (str, type(None))
_RUN = {"id": _TEXT, "started": _TEXT, "finished": _TEXT}
_FAILURE = dict.fromkeys(FAILURE_FIELDS, _TEXT)
_CONFLICT = {"host": _TEXT, "workspace_id": _TEXT_OR_NULL, "kept": (dict,), "dropped": (dict,)}
_WORKSPACE = {
    "host": _TEXT, "run": _TEXT, "state": _TEXT, "plugins": (list,), "diffs": (list,), "notes": (list,),
    **dict.fromkeys(("workspace_id", "tier", "runtime", "reason", "checked"), _TEXT_OR_NULL),
}  # fmt: skip
_PLUGIN = {
    "name": _TEXT, "state": _TEXT, "drift_count": (int,), "drift": (list,),
    **dict.fromkeys(("wanted", "version", "installed_version", "installed_digest"), _TEXT_OR_NULL),
}  # fmt: skip
_DRIFT = dict.fromkeys(("kind", "path", "expected", "observed"), _TEXT)
_DIFF = {"plugin": _TEXT_OR_NULL, "title": _TEXT, "text": _TEXT}


def _problem(data: object) -> str | None:
    """Say what keeps ``data`` from being a report; everything that merging and rendering rely on is checked."""
    if not isinstance(data, dict):
        return "it is no report"
    if data.get("version") != VERSION:
        return f"its version is {data.get('version')!r}, not {VERSION}"
    workspaces = data.get("workspaces")
    problem = (
        _list_problem(data.get("runs"), _RUN, "'runs'")
        or _list_problem(data.get("failures"), _FAILURE, "'failures'")
        or _list_problem(data.get("conflicts"), _CONFLICT, "'conflicts'")
        or _list_problem(workspaces, _WORKSPACE, "'workspaces'")
    )
    return problem or next(filter(None, map(_workspace_problem, workspaces or [])), None)


def _workspace_problem(record: Record) -> str | None:
    where = f"of workspace {printable(record['host'])}"
    if record["state"] not in WORKSPACE_STATES:
        return f"the state {where} is {printable(record['state'])}"
    problem = _list_problem(record["plugins"], _PLUGIN, f"'plugins' {where}") or _list_problem(record["diffs"], _DIFF, f"'diffs' {where}")
    if problem:
        return problem
    for plugin in record["plugins"]:
        if plugin["state"] not in PLUGIN_STATES:
            return f"the state of a plugin {where} is {printable(plugin['state'])}"
        problem = _list_problem(plugin["drift"], _DRIFT, f"'drift' of a plugin {where}")
        if problem:
            return problem
    return None


def _list_problem(items: object, fields: Mapping[str, tuple[type, ...]], where: str) -> str | None:
    if not isinstance(items, list):
        return f"{where} is no list"
    for item in items:
        for field, types in fields.items():
            if not isinstance(item, dict) or field not in item or not isinstance(item[field], types):
                return f"{where} has an element without a usable '{field}'"
    return None
