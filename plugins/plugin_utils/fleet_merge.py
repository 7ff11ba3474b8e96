# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fleet from many answers: what each source says of a workspace is put together by its id, first source first.

Pure; it asks nobody. A disagreement is never resolved in silence: the first source in the user's order is believed, and the others are named.
"""
from __future__ import annotations

import collections
import dataclasses
import re
import typing as t

from ..module_utils.names import WORKSPACE_ID
from . import backend
from .ec2_instances import Instance
from .fleet_records import Answer
from .fleet_sources import Source

# How the platform names containers: by the first 12 characters of the workspace's id, in newer releases by all of it.
_SHORT_NAME = re.compile(r"ws-([0-9a-f]{8}-[0-9a-f]{3})")
_FULL_NAME = re.compile(r"ws-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_REMARKED_AT_MOST = 3
REMOVED = "removed"


@dataclasses.dataclass
class FleetWorkspace:
    """What all sources together say of one workspace.

    ``field_sources``: by field, the source that is believed. ``conflicts``: ``{"field", "used", "source", "others": [{"source", "value"}]}``.
    ``instances``: the source and the EC2 instance, of all that are tagged as this workspace or named as its own.
    """

    workspace_id: str
    sources: list[str] = dataclasses.field(default_factory=list)
    fields: dict[str, str] = dataclasses.field(default_factory=dict)
    field_sources: dict[str, str] = dataclasses.field(default_factory=dict)
    conflicts: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    instances: list[tuple[str, Instance]] = dataclasses.field(default_factory=list)

    def as_given(self, without: t.Container[str] = ()) -> backend.Workspace:
        """As the ladder takes it, leaving out the fields that are named in ``without``."""
        given = {name: value for name, value in self.fields.items() if name not in without}
        return backend.Workspace(
            self.workspace_id,
            **{name: given.get(name) for name in ("runtime", "instance_id", "container", "config_dir", "unit")},
            runtime_container=given.get("runtime_container", backend.DEFAULT_RUNTIME_CONTAINER),
        )


@dataclasses.dataclass
class Fleet:
    """All workspaces by id, the containers of all engines, and what a person should know.

    ``containers``: by name, ``(engine, state)`` for each engine that has it. ``shared``: by name, the ids of the workspaces whose name that is, where they
    are several. ``remarks``: sentences.
    """

    workspaces: dict[str, FleetWorkspace]
    containers: dict[str, list[tuple[str, str]]]
    shared: dict[str, list[str]]
    remarks: list[str]


def merge(sources: t.Sequence[Source], answers: t.Mapping[str, Answer]) -> Fleet:
    """Put the answers together, in the order of the sources."""
    remarks = [f"source {source.name}: {remark}" for source in sources for remark in answers[source.name].remarks]
    workspaces: dict[str, FleetWorkspace] = {}
    for source in sources:
        refused = []
        for record in answers[source.name].records:
            workspace_id = record.workspace_id
            if not WORKSPACE_ID.fullmatch(workspace_id):
                refused.append(record.workspace_id)
                continue
            workspace = workspaces.setdefault(workspace_id, FleetWorkspace(workspace_id))
            if source.name not in workspace.sources:
                workspace.sources.append(source.name)
            for name, value in record.fields.items():
                _take(workspace, source, name, value)
        if refused:
            remarks.append(f"source {source.name}: {_some(refused)} cannot be a workspace id and was left out")
    for source in sources:
        for instance in answers[source.name].instances or ():
            owner = workspaces.get(instance.workspace_id)
            if owner:
                owner.instances.append((source.name, instance))
    _attach_claimed_instances(sources, answers, workspaces)
    containers = _containers(sources, answers)
    shared = _add_containers(workspaces, containers, remarks)
    _set_organisations(workspaces, {source.name for source in sources if source.kind in ("platform", "database")})
    for workspace in [workspace for workspace in workspaces.values() if workspace.fields.get("status", "").lower() == REMOVED]:
        _remark_remains(workspace, containers, remarks)
        del workspaces[workspace.workspace_id]
    return Fleet(workspaces, containers, shared, remarks)


def _take(workspace: FleetWorkspace, source: Source, name: str, value: str) -> None:
    """Add what one source says; the first one is believed, and a later one that says something else is a conflict."""
    used = workspace.fields.setdefault(name, value)
    believed = workspace.field_sources.setdefault(name, source.name)
    # an EC2 name tag is a label that anyone gives, and one source cannot disagree with itself about a workspace with two instances
    if _comparable(name, used) == _comparable(name, value) or believed == source.name or (name == "name" and source.kind == "ec2"):
        return
    other = {"source": source.name, "value": value}
    for conflict in workspace.conflicts:
        if conflict["field"] == name:
            conflict["others"].append(other)
            return
    workspace.conflicts.append({"field": name, "used": used, "source": believed, "others": [other]})


def _comparable(name: str, value: str) -> str:
    return value.strip().lower() if name in ("runtime", "status", "org_id", "parent_id") else value


def _attach_claimed_instances(sources: t.Sequence[Source], answers: t.Mapping[str, Answer], workspaces: t.Mapping[str, FleetWorkspace]) -> None:
    """Give each workspace the instance that is named as its own, whatever that is tagged as: the ladder refuses a stranger."""
    by_id = {instance.instance_id: (source.name, instance) for source in sources for instance in answers[source.name].instances or ()}
    for workspace in workspaces.values():
        claimed = by_id.get(workspace.fields.get("instance_id", ""))
        if claimed and claimed not in workspace.instances:
            workspace.instances.append(claimed)


def _containers(sources: t.Sequence[Source], answers: t.Mapping[str, Answer]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for source in sources:
        for name, state in (answers[source.name].containers or {}).items():
            found.setdefault(name, []).append((source.name, state))
    return found


def _add_containers(
    workspaces: dict[str, FleetWorkspace], containers: t.Mapping[str, list[tuple[str, str]]], remarks: list[str]
) -> dict[str, list[str]]:
    """Make workspaces of the containers that are named like one's and belong to none that is known; returns the names that several workspaces have.

    A short name has only the first 12 characters of the id. They find the container again, but are not the id that the platform knows.
    """
    owners: dict[str, list[str]] = {}
    for workspace in workspaces.values():
        for name in backend.container_names(workspace.as_given()):
            if name in containers:
                owners.setdefault(name, []).append(workspace.workspace_id)
                _note_engines(workspace, containers[name])
    orphans = [name for name in containers if name not in owners]
    whole_ids: dict[str, str] = {}
    for pattern in (_FULL_NAME, _SHORT_NAME):
        for name in orphans:
            match = pattern.fullmatch(name)
            if match:
                workspace_id = whole_ids.setdefault(match[1][:12], match[1])
                _note_engines(workspaces.setdefault(workspace_id, FleetWorkspace(workspace_id)), containers[name])
    nameless = [name for name in orphans if backend.CONTAINER_IN_INSTANCE_ID.fullmatch(name)]
    if nameless:
        remarks.append(f"no source says whose container {_some(nameless)} is, so its workspace is missing: add the platform's database or a file")
    return {name: ids for name, ids in owners.items() if len(ids) > 1}


def _note_engines(workspace: FleetWorkspace, places: t.Iterable[tuple[str, str]]) -> None:
    workspace.sources += [engine for engine, _state in places if engine not in workspace.sources]


def _set_organisations(workspaces: t.Mapping[str, FleetWorkspace], trees: t.Collection[str]) -> None:
    """Where no source names the organisation, it is the root of the workspace's tree, which the sources ``trees`` know (the platform's own rule)."""
    for workspace in workspaces.values():
        if "org_id" in workspace.fields or not any(source in trees for source in workspace.sources):
            continue
        seen, current = {workspace.workspace_id}, workspace
        while "parent_id" in current.fields and "org_id" not in current.fields:
            parent = workspaces.get(current.fields["parent_id"])
            if parent is None or parent.workspace_id in seen:
                break
            seen.add(parent.workspace_id)
            current = parent
        else:
            workspace.fields["org_id"] = current.fields.get("org_id", current.workspace_id)
            workspace.field_sources["org_id"] = "parent_id"


def _remark_remains(workspace: FleetWorkspace, containers: t.Mapping[str, list[tuple[str, str]]], remarks: list[str]) -> None:
    """Say what of a removed workspace still runs: it costs money, and nobody looks after it."""
    running = [instance.instance_id for _source, instance in workspace.instances if instance.state == "running"]
    running += [name for name in backend.container_names(workspace.as_given()) for _engine, state in containers.get(name, ()) if state == "running"]
    if running:
        remarks.append(f"workspace {workspace.workspace_id} is removed on the platform, but {_some(running)} still runs; it is not in the inventory")


def _some(names: t.Sequence[str]) -> str:
    shown = ", ".join(repr(name)[:80] for name in names[:_REMARKED_AT_MOST])
    return shown + (f" and {len(names) - _REMARKED_AT_MOST} more" if len(names) > _REMARKED_AT_MOST else "")


def states(fleet: Fleet) -> dict[str, str]:
    """State by container name over all engines; a running one counts before one of the same name that is not."""
    return {name: _state([state for _engine, state in places]) for name, places in fleet.containers.items()}


def _state(found: t.Sequence[str]) -> str:
    counted = collections.Counter(found)
    return next((state for state in ("running", *backend.HELD_STATES) if counted[state]), found[0])
