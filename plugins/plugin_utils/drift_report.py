# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person gets to see of a run: the result per plugin, the drift, and the diff per file.

Results stay small, because AWX cuts an event at 700,000 bytes: drift is listed up to a number of entries, and a diff shows the texts of as
many files as fit into a budget and names the others.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

from ..module_utils.names import is_plugin_name
from ..module_utils.plugin_tree import Entries, Entry, sorted_paths
from ..module_utils.printable import printable
from .bundle import read_bundled_files
from .plugin_plan import PluginPlan
from .workspace_answer import Application, Inspection, Placements

_DIFF_CHARACTERS = 300_000
_DIFF_FILES = 200
# Of each plugin; the counts say how many there are.
_MAX_PLACEMENTS = 100


@dataclass(frozen=True)
class _FileChange:
    """A file that will be another one afterwards; ``None``: there is no such file."""

    plan: PluginPlan
    path: str
    before: Entry | None
    after: Entry | None

    @property
    def is_restored(self) -> bool:
        """Whether the file will come from the workspace's own previous version."""
        return self.after is not None and self.plan.prepared is None

    @property
    def size(self) -> int:
        return sum(entry["size"] for entry in (self.before, self.after) if entry is not None)


def result_of(plans: Sequence[PluginPlan], inspection: Inspection, application: Application | None, recovers: bool, max_drift: int) -> dict[str, Any]:
    """Return a task's result about the plugins, after ``application`` or, without one, as a prediction.

    ``recovers``: an interrupted run's change was, or in check mode would be, finished or undone, which is a change of its own.
    """
    if application is None:
        change = any(plan.action != "none" for plan in plans)
        pending = inspection.restart_pending
    else:
        change = any(plugin.changed for plugin in application.plugins.values())
        pending = application.restart_pending
    # A file beside the plugins is in nobody's way.
    no_drift = {*(plan.name for plan in plans), *inspection.other_files}
    whole = [_of_whole_plugin(name, "unmanaged", "absent", "installed") for name in inspection.unmanaged if name not in no_drift]
    whole += [_of_whole_plugin(name, "restart_pending", "restarted", "not restarted since the last change") for name in inspection.restart_pending]
    drift = drift_entries(plans, max_drift) + whole
    return {
        "changed": change or recovers,
        "restart_required": change or bool(pending),
        "plugins": plugin_results(plans, application),
        "drift": drift,
        "drift_count": sum(len(plan.drift) for plan in plans) + len(whole),
        "unmanaged": [printable(name) for name in inspection.unmanaged],
    }


def plugin_results(plans: Sequence[PluginPlan], application: Application | None) -> list[dict[str, Any]]:
    """Return the result's ``plugins``: what was done (``application``), or what would be done."""
    results = []
    for plan in plans:
        done = application.plugins.get(plan.name) if application is not None else None
        placements = done.placements if done is not None else plan.observed.placements if plan.action != "none" else Placements()
        results.append(
            {
                "name": plan.name,
                "state": plan.state,
                "action": plan.action if done is None or done.changed else "none",
                "digest": plan.digest,
                "previous_digest": plan.observed.digest,
                "version": plan.version,
                "installed_version": _installed_version(plan),
                "revision": plan.prepared.revision if plan.prepared is not None else None,
                "signed_by": plan.prepared.signed_by if plan.prepared is not None else None,
                "source": plan.source,
                "possible_secrets": list(plan.prepared.secret_scan.found) if plan.prepared is not None and plan.prepared.secret_scan is not None else None,
                **_placement_results(placements),
                "drift_count": len(plan.drift),
            }
        )
    return results


def recovered_results(applications: Sequence[Application]) -> dict[str, Any]:
    """Return the result's ``recovered`` and ``recovered_placements``, of all that was asked for in one run."""
    return {
        "recovered": [printable(sentence) for application in applications for sentence in application.recovered],
        "recovered_placements": [
            {"plugin": printable(name), **_placement_results(placements)}
            for application in applications
            for name, placements in sorted(application.recovered_placements.items())
        ],
    }


def _placement_results(placements: Placements) -> dict[str, Any]:
    return {
        "removed_placements": [printable(placement) for placement in placements.removed[:_MAX_PLACEMENTS]],
        "removed_placements_count": len(placements.removed),
        "kept": [{field: printable(text) for field, text in kept.items()} for kept in placements.kept[:_MAX_PLACEMENTS]],
        "kept_count": len(placements.kept),
    }


def _installed_version(plan: PluginPlan) -> str | None:
    """Return the version that was found, where its digest proves it: it is the wanted one, or the one that the receipt is about."""
    observed = plan.observed
    if not observed.exists:
        return None
    if observed.digest == plan.digest and plan.version is not None:
        return plan.version
    receipt = observed.receipt or {}
    version = receipt.get("plugin_version") if receipt.get("digest") == observed.digest else None
    return printable(version) if isinstance(version, str) else None


def drift_entries(plans: Sequence[PluginPlan], max_drift: int) -> list[dict[str, str]]:
    """Return the result's ``drift`` of the wanted plugins, one entry per difference, at most ``max_drift`` for each plugin.

    At least one is listed, because people take an empty list for "no drift".
    """
    shown = max(max_drift, 1)
    return [{"plugin": plan.name, **{field: printable(text) for field, text in drift.items()}} for plan in plans for drift in plan.drift[:shown]]


def _of_whole_plugin(name: str, kind: str, expected: str, observed: str) -> dict[str, str]:
    """An element of the result's ``drift`` about a plugin as a whole, that no plan is about; its path is empty, as the root's."""
    return {"plugin": printable(name), "kind": kind, "path": "", "expected": expected, "observed": observed}


class DiffReport:
    """The diff of one run on one workspace. Ask for :meth:`wanted_texts`, get them from the workspace, then :meth:`render`.

    ``max_file_bytes`` is core's limit for a file in a diff (0 or less: none). A file in whose new or old text ``seems_secret`` (path, text) finds
    something is shown by its digest.
    """

    def __init__(self, plans: Sequence[PluginPlan], max_file_bytes: int, seems_secret: Callable[[str, str], bool] | None = None) -> None:
        self._seems_secret = seems_secret
        self._plans = [plan for plan in plans if plan.action != "none"]
        self._max_file_bytes = min(max_file_bytes, _DIFF_CHARACTERS) if max_file_bytes > 0 else _DIFF_CHARACTERS
        self._changes = [change for plan in self._plans for change in _file_changes(plan)]
        self._with_text = self._within_budget()

    def wanted_texts(self) -> list[tuple[str, str, bool]]:
        """Return the files (plugin, path, whether the previous version's) whose text is needed from the workspace."""
        live = [(change.plan.name, change.path, False) for change in self._with_text if change.before is not None]
        return live + [(change.plan.name, change.path, True) for change in self._with_text if change.is_restored]

    @property
    def max_bytes(self) -> int:
        """The size above which a file's text is not shown."""
        return self._max_file_bytes

    def render(self, texts: Mapping[tuple[str, str, bool], str | None]) -> list[dict[str, str]]:
        """Return the value of a result's ``diff``; ``texts`` holds what the workspace gave for :meth:`wanted_texts`."""
        new_texts = self._new_texts()
        shown = {id(change) for change in self._with_text}
        diffs = []
        for change in self._changes[:_DIFF_FILES]:
            before = "" if change.before is None else texts.get((change.plan.name, change.path, False)) if id(change) in shown else None
            after = "" if change.after is None else new_texts.get((change.plan.name, change.path))
            if change.is_restored:
                after = texts.get((change.plan.name, change.path, True)) if id(change) in shown else None
            if self._seems_secret is not None and any(self._seems_secret(change.path, text) for text in (before, after) if text):
                before = after = None
            diffs.append(_file_diff(change, before, after))
        if len(self._changes) > _DIFF_FILES:
            diffs.append({"prepared": f"and {len(self._changes) - _DIFF_FILES} more files differ\n"})
        for plan in self._plans:
            diffs += _whole_diff(plan) + _structure_diff(plan) + _placement_diff(plan)
        return diffs

    def _within_budget(self) -> list[_FileChange]:
        """Choose, in order, the files whose texts are shown."""
        left = _DIFF_CHARACTERS
        chosen = []
        for change in self._changes[:_DIFF_FILES]:
            sizes = [entry["size"] for entry in (change.before, change.after) if entry is not None]
            if max(sizes) <= self._max_file_bytes and change.size <= left and _may_be_text(change):
                left -= change.size
                chosen.append(change)
        return chosen

    def _new_texts(self) -> dict[tuple[str, str], str | None]:
        texts: dict[tuple[str, str], str | None] = {}
        for plan in self._plans:
            paths = {change.path for change in self._with_text if change.plan is plan and change.after is not None}
            if plan.prepared is not None and paths:
                texts.update({(plan.name, path): _as_text(content) for path, content in read_bundled_files(plan.prepared.bundle, paths).items()})
        return texts


def _file_changes(plan: PluginPlan) -> list[_FileChange]:
    after: Entries = plan.entries or {}
    before: Entries = (plan.observed.entries or {}) if plan.observed.exists else {}
    if plan.entries is not None and plan.observed.exists and plan.observed.entries is None:
        return []
    changes = []
    for path in sorted_paths(set(before) | set(after)):
        old, new = before.get(path), after.get(path)
        if all(entry is None or entry["type"] == "directory" for entry in (old, new)):
            continue
        if old is None or new is None or any(old[field] != new[field] for field in ("type", "size", "sha256", "target")):
            changes.append(_FileChange(plan, path, old, new))
    return changes


def _may_be_text(change: _FileChange) -> bool:
    # The root itself has no path that could be asked for, and neither has what the workspace would not find again: a name that is not printable, or a
    # directory that cannot be a plugin.
    are_files = all(entry is None or entry["type"] == "file" for entry in (change.before, change.after))
    return are_files and change.path != "" and printable(change.path) == change.path and is_plugin_name(change.plan.name)


def _file_diff(change: _FileChange, before: str | None, after: str | None) -> dict[str, str]:
    header = f"plugins/{printable(change.plan.name)}/{printable(change.path)}"
    # An empty file that comes or goes has no line to show.
    if before is None or after is None or before == after:
        before, after = _in_words(change.before), _in_words(change.after)
    return {
        "before_header": header if change.before is not None else f"{header} (absent)",
        "after_header": header if change.after is not None else f"{header} (absent)",
        "before": before,
        "after": after,
    }


def _in_words(entry: Entry | None) -> str:
    """Describe what is not shown: binary, too large, seemingly secret, or no file."""
    if entry is None:
        return ""
    if entry["type"] == "file":
        return f"(not shown) file of {entry['size']} bytes, sha256 {entry['sha256']}\n"
    return f"{entry['type']}{' to ' + printable(entry['target']) if entry['target'] else ''}\n"


def _whole_diff(plan: PluginPlan) -> list[dict[str, str]]:
    """Return the removal of a directory whose files the workspace does not list: they are too many, or it is no plugin's."""
    if plan.digest is not None or not plan.observed.exists or plan.observed.entries is not None:
        return []
    header = f"plugins/{printable(plan.name)}"
    return [{"before_header": header, "after_header": f"{header} (absent)", "before": f"(not shown) {plan.observed.digest}\n", "after": ""}]


def _structure_diff(plan: PluginPlan) -> list[dict[str, str]]:
    """Return the differences in modes, owners and directories of a plugin that is there already."""
    before, after = plan.observed.entries, plan.entries
    if before is None or after is None:
        return []
    wrong = frozenset(plan.observed.wrong_owner)
    lines: tuple[list[str], list[str]] = ([], [])
    for path in sorted_paths(set(before) | set(after)):
        old, new = before.get(path), after.get(path)
        if (old is None or new is None) and (old or new or {}).get("type") != "directory":
            continue
        if old is not None and new is not None and path not in wrong and (old["mode"] == new["mode"] or old["type"] != new["type"]):
            continue
        name = printable(path) or "."
        if old is not None:
            owner = f" owner {old.get('uid', '?')}:{old.get('gid', '?')}" if path in wrong else ""
            lines[0].append(f"{name}: {old['type']} {old['mode']:04o}{owner}\n")
        if new is not None:
            lines[1].append(f"{name}: {new['type']} {new['mode']:04o}\n")
    if lines[0] == lines[1]:
        return []
    header = f"plugins/{plan.name} (modes, owners and directories)"
    return [{"before_header": header, "after_header": header, "before": _first_lines(lines[0]), "after": _first_lines(lines[1])}]


def _placement_diff(plan: PluginPlan) -> list[dict[str, str]]:
    """Return what the runtime made of the present version and what happens to it, as a short text."""
    placements = plan.observed.placements
    if not placements.removed and not placements.kept:
        return []
    lines = [f"- {printable(placement)}\n" for placement in placements.removed]
    lines += [f"  kept: {printable(kept['path'])} ({printable(kept['reason'])})\n" for kept in placements.kept]
    return [{"prepared": f"placements of plugin {printable(plan.name)}\n{_first_lines(lines)}"}]


def _first_lines(lines: list[str]) -> str:
    """Join as many lines as are shown, and say how many are not."""
    more = len(lines) - _DIFF_FILES
    return "".join(lines[:_DIFF_FILES]) + (f"and {more} more\n" if more > 0 else "")


def _as_text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
