# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a fleet through its inventory, exactly as a playbook would.

What reads it is a process of its own, so a watch that looks for months keeps nothing of what a look needs.
"""
from __future__ import annotations

import dataclasses
import re
import typing as t

from ..module_utils.errors import WorkspaceError
from ..module_utils.names import WORKSPACE_ID
from .audit_record import FAILURES_VARIABLE
from .fleet_watch import AWAY_STATUSES, Sighting
from .inventory_listing import ListingError, list_inventory, not_a_listing

# Nothing that has a meaning in a host pattern: a limit to this name is a limit to this host.
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,252}")
_IDENTITY = re.compile(r"[A-Za-z0-9-]{1,128}")


class LookError(WorkspaceError):
    """The fleet could not be looked at; nothing is known of it."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What one look has shown. ``failures``: a sentence for each source that did not answer. ``remarks``: what a person should know."""

    sightings: t.Sequence[Sighting]
    failures: t.Sequence[str] = ()
    remarks: t.Sequence[str] = ()


async def look(inventories: t.Sequence[str], timeout: float) -> Look:
    """Read the inventories (as for ``-i``; none: Ansible's own default) without their caches; raises :class:`LookError`.

    It ends after ``timeout`` seconds, and with the task that waits for it.
    """
    try:
        listing = await list_inventory(inventories, "--flush-cache", timeout=timeout)
        try:
            return read(listing)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise not_a_listing(error) from error
    except ListingError as error:
        raise LookError(f"cannot look at the fleet: {error}") from error


def read(inventory: t.Mapping[str, t.Any]) -> Look:
    """The workspaces in the answer of ``ansible-inventory --list --export``; raises ``KeyError``, ``TypeError`` or ``AttributeError`` for anything else.

    Only hosts of the inventory plugin count: of a host that was written by hand nobody knows what it runs on.
    """
    hosts = inventory["_meta"]["hostvars"]
    sightings: list[Sighting] = []
    noted = inventory.get("all", {}).get("vars", {}).get(FAILURES_VARIABLE) or ()
    failures = [f"source {failure['source']}: {failure['reason']}" for failure in noted]
    strange, unobserved = [], 0
    for name, variables in hosts.items():
        backend = variables.get("workspace_backend")
        workspace_id = variables.get("workspace_id")
        if not isinstance(backend, dict) or not isinstance(workspace_id, str):
            unobserved += 1
        elif not _HOST_NAME.fullmatch(name) or name in inventory or not WORKSPACE_ID.fullmatch(workspace_id):
            strange.append(name)
        elif backend["tier"] != "external":
            sightings.append(_sighting(name, workspace_id, backend, variables))
    remarks = []
    if strange:
        remarks.append(
            f"{len(strange)} workspaces, {strange[0][:80]!r} among them, cannot be synced by themselves, because their host name is no plain one or is also "
            "that of a group: change hostnames in the inventory's configuration"
        )
    if unobserved:
        remarks.append(f"{unobserved} hosts are not from the inventory plugin molecule_ai.workspace.workspaces, so they are not watched")
    return Look(sightings, failures, remarks)


def _sighting(name: str, workspace_id: str, backend: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> Sighting:
    tier = str(backend["tier"])
    identity = backend["instance_id"] if tier == "eic" else variables.get("workspace_container_id") if tier == "docker" else None
    if identity is not None and not _IDENTITY.fullmatch(identity):
        raise ValueError(f"{identity!r} is no id of an instance or a container")
    status = str(variables.get("workspace_status") or "").strip().lower()
    return Sighting(workspace_id, name, tier, backend["lookup"] != "failed", identity, status not in AWAY_STATUSES)
