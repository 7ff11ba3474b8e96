# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a merged report should have been about: a slice of which there is no report must not look like a smaller fleet."""
from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..module_utils.errors import WorkspaceError
from ..module_utils.names import WORKSPACE_ID
from .audit_merge import identity, ids_by_host
from .audit_record import FAILURES_VARIABLE, MISSING_RUNS, Failure, failed_source, new_failure, new_record, noted_failures
from .audit_report import Report, new_report
from .inventory_listing import list_inventory, not_a_listing

_NOT_REPORTED = "the inventory names it, and no report is about it: the run that was to look at it was not started, or has left no report"


@dataclasses.dataclass(frozen=True)
class Expected:
    """The workspaces that an inventory names, each host with its workspace id as far as that is known, and its sources that failed."""

    workspaces: Mapping[str, str | None]
    failures: Sequence[Failure] = ()


def expected_workspaces(inventories: Sequence[str], limit: str | None, group: str) -> Expected:
    """Ask the inventories which workspaces of the group there are within the limit. Raises :class:`WorkspaceError`, also when there is none."""
    listing = asyncio.run(list_inventory(inventories, *(["--limit", limit] if limit else [])))
    try:
        return read(listing, limit, group)
    except (AttributeError, KeyError, TypeError) as error:
        raise not_a_listing(error) from error


def read(listing: Mapping[str, Any], limit: str | None, group: str) -> Expected:
    """Take the answer of ``ansible-inventory --list --export``; raises ``AttributeError``, ``KeyError`` or ``TypeError`` for anything else."""
    variables = listing["_meta"]["hostvars"]
    hosts = dict.fromkeys(_hosts(listing, group, set()))
    failures = [failed_source(failure) for failure in noted_failures(listing.get("all", {}).get("vars", {}).get(FAILURES_VARIABLE))]
    if not hosts and not failures:
        within = f" within the limit {limit!r}" if limit else ""
        raise WorkspaceError(f"the inventory names no workspace of the group {group!r}{within}: give --inventory, --hosts and --limit as the audits had them")
    return Expected({host: _workspace_id(variables.get(host, {}).get("workspace_id")) for host in hosts}, failures)


def with_expected(report: Report, expected: Expected) -> Report:
    """Return the report with each expected workspace that it does not hold, as ``unknown``, and with the sources that failed."""
    wanted = [new_record(host, workspace_id, "", _NOT_REPORTED) for host, workspace_id in expected.workspaces.items()]
    ids = ids_by_host([*report["workspaces"], *wanted])
    held = {identity(record, ids) for record in report["workspaces"]}
    # Two names for one workspace are still one workspace.
    absent = {identity(record, ids): record for record in reversed(wanted) if identity(record, ids) not in held}
    workspaces = sorted([*report["workspaces"], *absent.values()], key=lambda record: (record["host"], record["workspace_id"] or ""))
    return new_report(report["runs"], workspaces, report["conflicts"], [*report["failures"], *expected.failures])


def with_runs(report: Report, count: int) -> Report:
    """Return the report with a failure if it was learnt in fewer than ``count`` runs."""
    seen = len(report["runs"])
    if seen >= count:
        return report
    reason = f"there are reports of {seen} of {count} expected runs: look for what became of the others, and merge again with their reports"
    return new_report(report["runs"], report["workspaces"], report["conflicts"], [*report["failures"], new_failure(kind=MISSING_RUNS, reason=reason)])


def _hosts(listing: Mapping[str, Any], group: str, seen: set[str]) -> Iterator[str]:
    """The hosts of a group and of the groups in it."""
    if group not in seen:
        seen.add(group)
        found = listing.get(group, {})
        yield from found.get("hosts", [])
        for child in found.get("children", []):
            yield from _hosts(listing, child, seen)


def _workspace_id(value: object) -> str | None:
    """A template is no id: only a play knows what becomes of it."""
    return value if isinstance(value, str) and WORKSPACE_ID.fullmatch(value) else None
