# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit has learnt about one workspace, as plain data for ``drift.json``. No input or output here.

States of a workspace: ``in_sync``, ``drift``, ``unknown`` (it could not be looked at), ``external`` (it fetches its plugins itself) and ``none``
(everything that was asked answered, and nothing is there). States of a plugin on it: ``in_sync``, ``missing``, ``modified``, ``extra``,
``unmanaged``, ``placement`` and ``restart_pending``.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

from ..module_utils.printable import printable
from .audit_diff import diffs_of

WORKSPACE_STATES = ("in_sync", "drift", "unknown", "external", "none")
PLUGIN_STATES = ("in_sync", "missing", "modified", "extra", "unmanaged", "placement", "restart_pending")

FAILURE_FIELDS = ("inventory", "source", "type", "reason")
# The variable in which the inventory plugin ``workspaces`` leaves the sources that did not answer.
FAILURES_VARIABLE = "workspace_inventory_failures"
# The type of a failure that is not of a source: runs of which there is no report.
MISSING_RUNS = "runs"

# What a plugin with several kinds of drift is shown as: the first of these that it has.
_BY_SEVERITY = ("unmanaged", "modified", "mode", "owner", "extra", "missing", "placement", "restart_pending")
_SHOWN_AS = {"mode": "modified", "owner": "modified"}
_MAX_REASON = 2000

Record = dict[str, Any]
Failure = dict[str, str]


def new_record(host: str, workspace_id: str | None, run: str, reason: str = "the run ended before it was looked at") -> Record:
    """Return the record of a workspace that nothing is known of yet: it starts as ``unknown``, never as fine."""
    return {
        "host": printable(host),
        "workspace_id": printable(workspace_id) if workspace_id else None,
        "tier": None,
        "runtime": None,
        "state": "unknown",
        "reason": reason,
        "checked": None,
        "run": run,
        "plugins": [],
        "diffs": [],
        "notes": [],
    }


def failed_source(failure: Mapping[str, Any]) -> Failure:
    """Return what is reported of a source of the inventory that failed: ``inventory``, ``source``, ``type`` and ``reason``."""
    return {key: _reason(failure.get(key)) for key in FAILURE_FIELDS}


def noted_failures(noted: object) -> list[Failure]:
    """Return what the inventory plugin ``workspaces`` has noted (:data:`FAILURES_VARIABLE`); what nobody understands is a failure, too."""
    entries = noted if isinstance(noted, list) else [noted] if noted else []
    return [_noted(entry) for entry in entries]


def new_failure(inventory: str = "", source: str = "", kind: str = "", reason: str = "") -> Failure:
    """Return one failure: file name, source, type of source (each empty: not known) and one sentence."""
    # The controller's directories are nobody's business who reads a report.
    return dict(zip(FAILURE_FIELDS, (inventory if "," in inventory else Path(inventory).name, source, kind, reason or "it does not say why")))


def _noted(entry: Any) -> Failure:
    if not isinstance(entry, Mapping):
        return new_failure(reason=f"{FAILURES_VARIABLE} is not what the inventory plugin sets: {entry}")
    return new_failure(*(str(entry.get(field) or "") for field in FAILURE_FIELDS))


def note_backend(record: Record, backend: Mapping[str, Any]) -> None:
    """Take over what the module ``workspace_backend_facts`` found (the fact ``workspace_backend``)."""
    record["tier"] = _text(backend.get("tier"))
    record["runtime"] = _text(backend.get("runtime"))
    record["workspace_id"] = _text(backend.get("workspace_id")) or record["workspace_id"]
    reason = _reason(backend.get("reason"))
    if backend.get("tier") == "external":
        record.update(state="external", reason=_reason(backend.get("download_hint")) or reason)
    elif backend.get("tier") == "none" and backend.get("lookup") == "not_found":
        record.update(state="none", reason=reason)
    else:
        record.update(state="unknown", reason=reason if backend.get("tier") == "none" else "the run ended before its plugins were looked at")


def note_failure(record: Record, result: Mapping[str, Any]) -> None:
    """Take over a failed or unreachable task: nothing is known, with its reason. What was learnt for certain before stays."""
    if record["state"] == "unknown":
        record["reason"] = _reason(result.get("msg")) or "a task failed without saying why"


def note_inspection(record: Record, result: Mapping[str, Any]) -> None:
    """Take over one result of the module ``molecule_plugin`` in check mode; several tasks about one workspace add up."""
    if not isinstance(result.get("plugins"), list) or not isinstance(result.get("drift"), list):
        record.update(state="unknown", reason="the result of its inspection is hidden (no_log), so nothing of it is reported")
        return
    by_name = {plugin["name"]: plugin for plugin in record["plugins"]}
    named = {_text(item.get("name")) for item in result["plugins"]} | {name for name, plugin in by_name.items() if plugin["wanted"]}
    for item in result["plugins"]:
        plugin = _plugin(item, [drift for drift in result["drift"] if drift.get("plugin") == item.get("name")])
        by_name[plugin["name"]] = plugin
    others = [drift for drift in result["drift"] if _text(drift.get("plugin")) not in named]
    for name in dict.fromkeys(str(_text(drift.get("plugin"))) for drift in others):
        by_name[name] = _plugin({"name": name}, [drift for drift in others if _text(drift.get("plugin")) == name])
    record["plugins"] = sorted(by_name.values(), key=lambda plugin: str(plugin["name"]))
    record["diffs"] += diffs_of(result.get("diff"))
    record["notes"] += [_reason(warning) for warning in result.get("warnings") or [] if warning]
    drifted = any(plugin["state"] != "in_sync" for plugin in record["plugins"])
    if not drifted and result.get("changed"):
        # No difference in any file, and yet a run would change something: an interrupted one is to be finished.
        record.update(state="drift", reason="an interrupted run has to be finished")
    elif record["state"] != "drift" or drifted:
        record.update(state="drift" if drifted else "in_sync", reason=None)


def _plugin(item: Mapping[str, Any], drift: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kinds = {str(entry.get("kind")) for entry in drift}
    wanted = item.get("state")
    entries = [{key: _text(entry.get(key)) or "" for key in ("kind", "path", "expected", "observed")} for entry in drift]
    count = item.get("drift_count")
    return {
        "name": _text(item.get("name")) or "",
        "state": _state(kinds, drift),
        "wanted": wanted if wanted in ("present", "absent", "rolled_back") else None,
        "version": _text(item.get("version")),
        "installed_version": _text(item.get("installed_version")),
        "digest": _text(item.get("digest")),
        "installed_digest": _text(item.get("previous_digest")),
        "source": _text(item.get("source")),
        "revision": _text(item.get("revision")),
        "action": _text(item.get("action")),
        "drift_count": max(count if isinstance(count, int) else 0, len(entries)),
        "drift": entries,
    }


def _state(kinds: set[str], drift: Sequence[Mapping[str, Any]]) -> str:
    for kind in ("missing", "extra"):
        if any(entry.get("kind") == kind and not entry.get("path") for entry in drift):
            return kind
    if kinds & {"missing", "extra"}:
        # One file of it is not there, or is one too many: the plugin is there, but not as it should be.
        return "modified"
    return next((_SHOWN_AS.get(kind, kind) for kind in _BY_SEVERITY if kind in kinds), "modified" if kinds else "in_sync")


def _text(value: object) -> str | None:
    return None if value is None or value == "" else printable(str(value), _MAX_REASON)


def _reason(value: object) -> str:
    return _text(" ".join(str(value).split())) or "" if value else ""
