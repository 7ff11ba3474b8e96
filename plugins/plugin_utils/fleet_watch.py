# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has become of a fleet between two looks at it: which workspaces may have lost their plugins, and when to say so. Pure; it asks nobody.

A workspace is what it runs on: an EC2 instance or a container. A restart in place keeps both, so it is no change, whoever does it. A restart by the platform
keeps neither. What is not known (a source that failed) changes nothing.
"""
from __future__ import annotations

import dataclasses
import typing as t

NEW_WORKSPACE = "new_workspace"
NEW_INSTANCE = "new_instance"
NEW_CONTAINER = "new_container"
BACK_ONLINE = "back_online"

AWAY_STATUSES = frozenset({"provisioning", "offline", "failed", "paused", "hibernating", "hibernated", "removed"})
"""Statuses of the platform in which no agent runs. Any other one, also one that is unknown here, is that of a workspace that can be reached."""

FORGET_AFTER = 30 * 86400.0
"""Seconds after which a workspace that is not in the fleet any more is forgotten."""


@dataclasses.dataclass(frozen=True)
class Sighting:
    """One workspace as an inventory shows it now.

    ``known``: whether the places where it could be have answered; if not, nothing else counts. ``identity``: the id of the instance or container that it runs
    on, ``None`` if there is none. ``online``: whether it runs there, as far as the platform says.
    """

    workspace_id: str
    host: str
    tier: str
    known: bool = True
    identity: str | None = None
    online: bool = False


@dataclasses.dataclass(frozen=True)
class Change:
    """A workspace that may have lost its plugins. ``previous`` and ``identity``: what it ran on, and runs on. ``times``: how often in a row it was announced,
    this time included. ``repeated``: it was announced before the watch was interrupted."""

    workspace_id: str
    host: str
    tier: str
    reason: str
    previous: str | None
    identity: str
    times: int
    repeated: bool = False


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait, all in seconds.

    ``settle``: a change must have stayed as it is for so long. ``min_absence``: a workspace that is back on the same instance or container counts if it was
    away for so long. ``backoff``: pause after a workspace was announced until it is announced again, doubled each time up to ``backoff_max``; after a quiet
    ``backoff_max`` it is short again. ``repeat``: what was announced so shortly before an interruption is announced again, since whoever acts on it may
    have been interrupted too.
    """

    settle: float = 30.0
    min_absence: float = 300.0
    backoff: float = 60.0
    backoff_max: float = 3600.0
    repeat: float = 900.0


@dataclasses.dataclass
class Pending:
    """A change that is to be announced when it has settled. ``since``: when it was first seen as it is now, ``None`` while the workspace is away."""

    reason: str
    previous: str | None
    since: float | None
    repeated: bool = False


@dataclasses.dataclass
class Record:
    """What is remembered of one workspace; all times in seconds since 1970. ``announced``: when its last change was, ``times``: how many in a row."""

    seen: float
    identity: str | None = None
    away_since: float | None = None
    pending: Pending | None = None
    announced: float | None = None
    times: int = 0
    last_reason: str = ""
    last_previous: str | None = None


class Watch:
    """Remembers a fleet. ``records`` is what an earlier watch remembered (see :meth:`to_data`), ``None`` if there was none: the first look is then the
    baseline, and no workspace in it is announced."""

    def __init__(self, patience: Patience, records: t.Mapping[str, Record] | None = None, now: float = 0.0) -> None:
        self._patience = patience
        self._records = dict(records or {})
        self._has_baseline = records is not None
        for record in self._records.values():
            if record.announced is not None and now - record.announced < patience.repeat and record.pending is None:
                record.pending = Pending(record.last_reason, record.last_previous, None, repeated=True)

    def observe(self, sightings: t.Iterable[Sighting], complete: bool, now: float) -> list[Change]:
        """Take in one look at the fleet; returns what is to be announced, and remembers it as announced.

        ``complete``: whether all sources have answered, so that a workspace that is not there is really gone.
        """
        baseline = not self._has_baseline
        changes = []
        seen = set()
        for sighting in sightings:
            seen.add(sighting.workspace_id)
            if not sighting.known:
                continue
            record = self._records.get(sighting.workspace_id)
            if record is None:
                record = self._records[sighting.workspace_id] = Record(now)
                if not baseline:
                    record.pending = Pending(NEW_WORKSPACE, None, None)
                record.identity = sighting.identity
            record.seen = now
            if sighting.identity is None or not sighting.online:
                _leave(record, now)
                continue
            self._arrive(record, sighting, sighting.identity, now)
            if change := self._due(record, sighting, sighting.identity, now):
                changes.append(change)
        if complete:
            self._has_baseline = True
            for workspace_id in self._records.keys() - seen:
                _leave(self._records[workspace_id], now)
                if now - self._records[workspace_id].seen > FORGET_AFTER:
                    del self._records[workspace_id]
        return changes

    def _arrive(self, record: Record, sighting: Sighting, identity: str, now: float) -> None:
        """The workspace runs on ``identity``: note what is different from what was remembered."""
        away_since, record.away_since = record.away_since, None
        if record.identity != identity:
            # of several changes that have not been announced, what it ran on before the first one counts, and the reason that explains most
            before = record.pending
            reason = NEW_INSTANCE if sighting.tier == "eic" else NEW_CONTAINER
            if before and before.reason == NEW_WORKSPACE:
                reason = NEW_WORKSPACE
            record.pending = Pending(reason, before.previous if before else record.identity, now)
            record.identity = identity
        elif record.pending:
            if record.pending.since is None:
                record.pending.since = now
        elif away_since is not None and now - away_since >= self._patience.min_absence:
            record.pending = Pending(BACK_ONLINE, identity, now)

    def _due(self, record: Record, sighting: Sighting, identity: str, now: float) -> Change | None:
        """The pending change, if it has settled and the last one was long enough ago."""
        pending, patience = record.pending, self._patience
        if pending is None or pending.since is None or now - pending.since < patience.settle:
            return None
        if record.announced is not None:
            quiet = now - record.announced
            if quiet < min(patience.backoff * 2 ** min(record.times - 1, 32), patience.backoff_max):
                return None
            if quiet >= patience.backoff_max:
                record.times = 0
        record.pending = None
        record.announced, record.times = now, record.times + 1
        record.last_reason, record.last_previous = pending.reason, pending.previous
        return Change(sighting.workspace_id, sighting.host, sighting.tier, pending.reason, pending.previous, identity, record.times, pending.repeated)

    def to_data(self) -> dict[str, t.Any]:
        """What is remembered, as JSON data by workspace id."""
        return {workspace_id: dataclasses.asdict(record) for workspace_id, record in self._records.items()}

    @property
    def has_baseline(self) -> bool:
        """Whether the whole fleet has been seen once, so that what is remembered may be kept for a later watch."""
        return self._has_baseline


def records_from_data(data: t.Mapping[str, t.Any]) -> dict[str, Record]:
    """The reverse of :meth:`Watch.to_data`; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    return {workspace_id: _record(fields) for workspace_id, fields in data.items()}


def _record(fields: t.Mapping[str, t.Any]) -> Record:
    pending = fields["pending"]
    record = Record(**{**fields, "pending": None if pending is None else Pending(**pending)})
    numbers = [record.seen, record.times, record.away_since, record.announced, record.pending.since if record.pending else None]
    if not all(number is None or isinstance(number, (int, float)) for number in numbers):
        raise ValueError("a time is no number")
    return record


def _leave(record: Record, now: float) -> None:
    """The workspace is not reachable now: what is pending has to settle anew when it is back."""
    if record.away_since is None:
        record.away_since = now
    if record.pending:
        record.pending.since = None
