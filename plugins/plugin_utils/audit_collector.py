# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gathers the records of one run: which workspaces it is about, what is known of each, who ran it. No input or output here."""
from __future__ import annotations

import uuid
from typing import Any, Iterable, Mapping

from .audit_record import Record, failed_source, new_record, note_backend, note_failure, note_inspection
from .audit_report import Report, new_report, timestamp

_OURS = "molecule_ai.workspace."
_BACKEND = ("workspace_backend_facts", _OURS + "workspace_backend_facts")
_INSPECTION = ("molecule_plugin", _OURS + "molecule_plugin")


class AuditCollector:
    """What a callback hears of a run, turned into a report. Times are seconds since the epoch."""

    def __init__(self, started: float, run: Mapping[str, Any]) -> None:
        self._id = str(uuid.uuid4())
        self._started = started
        self._run = dict(run)
        self._expected: dict[str, str | None] = {}
        self._records: dict[str, Record] = {}
        self._finished: set[str] = set()
        self._early: dict[str, tuple[Mapping[str, Any], float]] = {}
        self._blind: dict[str, str | None] = {}
        self._failures: list[dict[str, str]] = []

    @property
    def seen(self) -> bool:
        """Whether anything was audited, or was to be: only then there is something to report."""
        return bool(self._records or self._expected or self._failures)

    @property
    def total(self) -> int:
        """The number of workspaces that the run is about."""
        return len(self._expected)

    @property
    def done(self) -> int:
        """The number of workspaces of which all is known that this run will know."""
        return len(self._finished)

    def count(self, state: str) -> int:
        """The number of finished workspaces in this state."""
        return sum(self._records[host]["state"] == state for host in self._finished)

    def about(self, **facts: Any) -> None:
        """Say something about the run itself."""
        self._run.update(facts)

    def expect(self, hosts: Mapping[str, str | None]) -> None:
        """An audit is about to look at these hosts, given with their workspace ids as far as they are known."""
        self._expected.update(hosts)
        for host in [host for host in self._early if host in hosts]:
            self.failure(host, "", *self._early.pop(host))

    def incomplete(self, failures: Iterable[Mapping[str, Any]]) -> None:
        """An audit is about to look at what an inventory has found in which these sources failed."""
        self._failures += map(failed_source, failures)

    def result(self, host: str, action: str, result: Mapping[str, Any], now: float) -> bool:
        """Take a task that succeeded; True when it was one of ours."""
        if action in _BACKEND:
            facts = result.get("ansible_facts")
            backend = facts.get("workspace_backend") if isinstance(facts, dict) else None
            if not isinstance(backend, dict):
                return False
            record = self._record(host, now)
            note_backend(record, backend)
            self._stay_blind(host)
            if record["state"] in ("external", "none") or backend.get("tier") == "none":
                self._finished.add(host)
            return True
        if action in _INSPECTION:
            items = result.get("results")
            for item in items if isinstance(items, list) else [result]:
                if isinstance(item, dict) and not item.get("skipped"):
                    record = self._record(host, now)
                    note_inspection(record, item)
                    if record["state"] == "unknown":
                        self._blind.setdefault(host, record["reason"])
                    self._stay_blind(host)
                    self._finished.add(host)
            return True
        return False

    def failure(self, host: str, action: str, result: Mapping[str, Any], now: float) -> bool:
        """Take a task that failed or a host that was not reached; False when the run has not been about auditing this host."""
        ours = action in _BACKEND + _INSPECTION
        if not ours and host not in self._expected:
            # Whether the play is an audit of this host is not known before the first task of ours.
            self._early[host] = (result, now)
            return False
        if not ours and host in self._finished:
            # What follows a look, such as a policy that fails the host, adds nothing to what the look has said.
            return False
        record = self._record(host, now)
        if action in _INSPECTION and record["state"] in ("in_sync", "drift"):
            # Another task could look, this one could not: what is known is not all.
            record["state"] = "unknown"
        note_failure(record, result)
        if action in _INSPECTION:
            self._blind.setdefault(host, record["reason"])
        self._stay_blind(host)
        self._finished.add(host)
        return True

    def report(self, finished: float) -> Report:
        """Return the report; a workspace that the run never came to is in it, as unknown."""
        for host in self._expected:
            self._record(host, None)
        run = {"id": self._id, "started": timestamp(self._started), "finished": timestamp(finished), **self._run}
        return new_report([run], sorted(self._records.values(), key=lambda record: str(record["host"])), failures=self._failures)

    def _stay_blind(self, host: str) -> None:
        """Where one inspection failed, no other makes up for it: each may be about other plugins."""
        if host in self._blind:
            self._records[host].update(state="unknown", reason=self._blind[host])

    def _record(self, host: str, now: float | None) -> Record:
        record = self._records.setdefault(host, new_record(host, self._expected.get(host), self._id))
        self._expected.setdefault(host, None)
        if now is not None:
            record["checked"] = timestamp(now)
        return record
