# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible gets of a fleet: a host name, variables and groups for each workspace."""
from __future__ import annotations

import collections
import dataclasses
import re
import typing as t

from ..module_utils.errors import InvalidInputError
from .fleet_backends import Located

GROUP = "workspaces"
GROUP_BY = ("tier", "runtime", "status", "org")
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,252}")
# Names that Ansible gives a meaning of its own, or that would be the controller.
_RESERVED = frozenset(["all", "ungrouped", "localhost", "localhost.localdomain", "127.0.0.1", GROUP])
# A name must not become or cease to be usable with the groups that other workspaces happen to need.
_LIKE_A_GROUP = tuple(f"{key}_" for key in GROUP_BY)
# A workspace's id, or the part of it that a container's name has; the workspace may be in another inventory, or not be known yet.
_LIKE_AN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{3}(?:[0-9a-f](?:-[0-9a-f]{4}){2}-[0-9a-f]{12})?")

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


@dataclasses.dataclass(frozen=True)
class Names:
    """The host names that were ``chosen``, by workspace id, and those that were passed over: ``ambiguous``, because several workspaces have them, and
    ``refused``, one entry for each time, because they mean something else.
    """

    chosen: t.Mapping[str, str]
    ambiguous: t.Sequence[str]
    refused: t.Sequence[str]


def host_names(
    candidates: t.Mapping[str, t.Sequence[str]], groups: t.Container[str] = (), others: t.Mapping[str, str | None] | None = None
) -> Names:
    """Choose a name for each workspace.

    ``candidates``: names by id, in order of preference. A name that is no host name, means something else or is not unique is passed over; the id is last.
    Whoever may rename a workspace chooses its name, so it means something else whenever anything but this workspace has it.
    ``groups``: the names of groups. ``others``: the hosts that other inventories have, each with the workspace id that it is known to have.
    Raises :class:`InvalidInputError` if not even an id can be a name.
    """
    others = others or {}
    wanted = collections.Counter(name for names in candidates.values() for name in set(names))

    def means_something_else(name: str, workspace_id: str) -> bool:
        lower = name.lower()
        if lower in _RESERVED or lower.startswith(_LIKE_A_GROUP) or name in groups or others.get(name, workspace_id) != workspace_id:
            return True
        return name in candidates or _LIKE_AN_ID.fullmatch(lower) is not None

    chosen: dict[str, str] = {}
    refused: list[str] = []
    for workspace_id, names in candidates.items():
        for name in names:
            if name == workspace_id:
                break
            if wanted[name] > 1 or not _HOST_NAME.fullmatch(name):
                continue
            if not means_something_else(name, workspace_id):
                chosen[workspace_id] = name
                break
            refused.append(name)
        if workspace_id not in chosen:
            _check_id(workspace_id, groups, others.get(workspace_id))
            chosen[workspace_id] = workspace_id
    return Names(chosen, sorted(name for name, count in wanted.items() if count > 1), refused)


def _check_id(workspace_id: str, groups: t.Container[str], other: str | None) -> None:
    """Refuse an id that cannot be a host name; there is nothing else that the workspace could be called."""
    if workspace_id.lower() in _RESERVED:
        problem = "Ansible gives this name a meaning of its own: correct the id in the source that has it"
    elif workspace_id in groups:
        problem = "a group has this name: rename the group, or give the entry of keyed_groups that makes it a prefix"
    elif other not in (None, workspace_id):
        problem = f"another inventory has workspace {other} under this name: set hostnames to workspace_id there"
    else:
        return
    raise InvalidInputError(f"workspace {workspace_id} cannot be a host, because {problem}")
