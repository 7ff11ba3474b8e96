# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible gets of a fleet: a host name, variables and groups for each workspace."""
from __future__ import annotations

import collections
import re
import typing as t

from .fleet_backends import Located

GROUP = "workspaces"
GROUP_BY = ("tier", "runtime", "status", "org")
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,252}")
# Names that Ansible gives a meaning of its own, or that would be the controller.
_TAKEN = frozenset(["all", "ungrouped", "localhost", "localhost.localdomain", "127.0.0.1", GROUP])

# What an operator gave in the file; the same variables as in a hand-written inventory, so that the roles look again with them.
_OPERATORS_FIELDS = ("container", "config_dir", "unit", "runtime_container")
_FIELDS = ("name", "runtime", "status", "org_id", "parent_id")


def variables(located: Located) -> dict[str, t.Any]:
    """The host variables of one workspace, never a secret. A field that no source says is not defined, nor who said what where all is from one source."""
    workspace, answer = located.workspace, located.backend
    found: dict[str, t.Any] = {"workspace_id": workspace.workspace_id}
    found.update({f"workspace_{name}": workspace.fields[name] for name in (*_FIELDS, *_OPERATORS_FIELDS) if name in workspace.fields})
    if answer.runtime:
        found["workspace_runtime"] = answer.runtime
    found["workspace_tier"] = answer.tier
    found["workspace_backend"] = located.fact
    if located.container_id:
        found["workspace_container_id"] = located.container_id
    found["workspace_sources"] = workspace.sources
    if len(workspace.sources) > 1:
        found["workspace_field_sources"] = workspace.field_sources
    found["workspace_conflicts"] = workspace.conflicts
    found.update(located.looking_again)
    # without an address of its own, Ansible would connect to whatever machine has the host's name; .invalid is never one (RFC 2606)
    found.update(located.connection or {"ansible_host": f"{workspace.workspace_id}.invalid"})
    return found


def groups(found: t.Mapping[str, t.Any], group_by: t.Collection[str]) -> list[str]:
    """The names of the groups of one workspace, from its variables, before Ansible makes them safe; the tier's group first."""
    values = {"tier": found["workspace_tier"], "runtime": found.get("workspace_runtime"), "status": found.get("workspace_status")}
    values["org"] = found.get("workspace_org_id")
    return [f"{key}_{value.lower()}" for key, value in values.items() if key in group_by and value]


def host_names(candidates: t.Mapping[str, t.Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """A name for each workspace, by id, and the candidates that were refused because several workspaces have them.

    ``candidates``: by id, in order of preference. A name that is no host name, has a meaning for Ansible or is not unique is passed over; the id is last.
    """
    wanted = collections.Counter(name for names in candidates.values() for name in set(names))
    ambiguous = sorted(name for name, count in wanted.items() if count > 1)
    chosen = {}
    for workspace_id, names in candidates.items():
        own = (name for name in names if name == workspace_id or name not in candidates)
        chosen[workspace_id] = next((name for name in own if wanted[name] == 1 and name not in _TAKEN and _HOST_NAME.fullmatch(name)), workspace_id)
    return chosen, ambiguous
