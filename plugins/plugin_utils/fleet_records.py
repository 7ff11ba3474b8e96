# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sources of an inventory say, as plain data: one answer per source, which can be cached and merged.

Nothing of it is secret: options that reach a source stay with the source (see ``fleet_sources.py``).
"""
from __future__ import annotations

import dataclasses
import typing as t

from .ec2_instances import Instance

FIELDS = ("name", "runtime", "status", "org_id", "parent_id", "instance_id", "container", "config_dir", "unit", "runtime_container", "region")
"""What a source can say of a workspace besides its id; all texts."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What one source says of one workspace; ``fields`` has only what it says, never an empty text."""

    workspace_id: str
    fields: t.Mapping[str, str]

    @classmethod
    def of(cls, workspace_id: str, fields: t.Mapping[str, t.Any]) -> Record:
        """From any mapping; what is no field is left out, and so are null and blank values."""
        texts = {name: str(fields[name]).strip() for name in FIELDS if fields.get(name) is not None}
        return cls(workspace_id, {name: text for name, text in texts.items() if text})


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one source answered.

    ``containers``: state by name, from a Docker engine that could be listed; ``container_ids``: the engine's ids, by name too.
    ``instances``: from EC2, in any state.
    ``failure``: one sentence, if the source could not be asked, or not all of it. ``remarks``: sentences for a person about what was left out.
    """

    records: t.Sequence[Record] = ()
    containers: t.Mapping[str, str] | None = None
    container_ids: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    instances: t.Sequence[Instance] | None = None
    failure: str | None = None
    remarks: t.Sequence[str] = ()

    def to_data(self) -> dict[str, t.Any]:
        """The answer as JSON data."""
        return {
            "records": [[record.workspace_id, dict(record.fields)] for record in self.records],
            "containers": None if self.containers is None else dict(self.containers),
            "container_ids": dict(self.container_ids),
            "instances": None if self.instances is None else [dataclasses.asdict(instance) for instance in self.instances],
            "remarks": list(self.remarks),
        }

    @classmethod
    def from_data(cls, data: t.Mapping[str, t.Any]) -> Answer:
        """The reverse of :meth:`to_data`; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        instances = data["instances"]
        return cls(
            records=[Record(workspace_id, fields) for workspace_id, fields in data["records"]],
            containers=data["containers"],
            container_ids=data["container_ids"],
            instances=None if instances is None else [Instance(**instance) for instance in instances],
            remarks=list(data["remarks"]),
        )
