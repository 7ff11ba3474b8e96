# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at a fleet through its inventory, exactly as a playbook would: ``ansible-inventory`` in a process of its own.

So host names, Vault, ``ansible.cfg`` and collections are those of the playbook that acts on what is seen, a source that hangs can be ended, and a watch that
looks for months keeps nothing of what a look needs.
"""
from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import shutil
import sys
import typing as t

from ..module_utils.errors import WorkspaceError
from ..module_utils.names import WORKSPACE_ID
from .fleet_watch import AWAY_STATUSES, Sighting

_FAILURES = "workspace_inventory_failures"
# Nothing that has a meaning in a host pattern: a limit to this name is a limit to this host.
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,252}")
_IDENTITY = re.compile(r"[A-Za-z0-9-]{1,128}")
_MAX_DETAIL = 500


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
    program = _program()
    # --export: variables of groups with their groups, because a source that failed may have left no host
    command = [program, "--list", "--export", "--flush-cache", *(argument for each in inventories for argument in ("-i", each))]
    environment = {
        **os.environ,
        # an inventory that cannot be read is otherwise a warning, and a fleet without workspaces
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        # passing by the inventory's cache also empties that of facts, which is to be nobody's
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.memory",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise LookError(f"cannot look at the fleet: {program} does not start ({error.strerror}): check the installation of ansible-core") from error
    answering = asyncio.ensure_future(process.communicate())
    try:
        # Until Python 3.12, wait_for forgets a cancellation that comes together with the answer, and the watch would never end.
        await asyncio.wait([answering], timeout=timeout)
        if not answering.done():
            raise LookError(f"cannot look at the fleet: the inventory has not answered within {timeout:g} s; raise timeout or look for the slow source")
        stdout, stderr = answering.result()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    if process.returncode != 0:
        raise LookError(f"cannot look at the fleet: ansible-inventory failed: {_last_words(stderr)}")
    try:
        return read(json.loads(stdout))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LookError(f"cannot look at the fleet: ansible-inventory did not answer with an inventory ({error}): run it by hand with --list") from error


def read(inventory: t.Mapping[str, t.Any]) -> Look:
    """The workspaces in the answer of ``ansible-inventory --list --export``; raises ``KeyError``, ``TypeError`` or ``AttributeError`` for anything else.

    Only hosts of the inventory plugin count: of a host that was written by hand nobody knows what it runs on.
    """
    hosts = inventory["_meta"]["hostvars"]
    sightings: list[Sighting] = []
    noted = inventory.get("all", {}).get("vars", {}).get(_FAILURES) or ()
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


def _program() -> str:
    """The ``ansible-inventory`` beside this Python, else the one in PATH; raises :class:`LookError`."""
    beside = os.path.join(os.path.dirname(sys.executable), "ansible-inventory")
    program = beside if os.access(beside, os.X_OK) else shutil.which("ansible-inventory")
    if not program:
        raise LookError("cannot look at the fleet: there is no ansible-inventory in PATH; install ansible-core where ansible-rulebook runs")
    return program


def _last_words(output: bytes) -> str:
    """What the program wrote last, on one line."""
    text = " ".join(line.strip() for line in output.decode(errors="replace").splitlines() if line.strip())
    return text[-_MAX_DETAIL:] or "it said nothing"
