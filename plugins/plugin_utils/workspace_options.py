# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One workspace as a user writes it down: in a task, in a list of a task, in the static file of an inventory."""
from __future__ import annotations

import typing as t

from ..module_utils import names
from ..module_utils.errors import InvalidInputError
from . import backend

WORKSPACE_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "workspace_id": {"type": "str"},
    "runtime": {"type": "str"},
    "instance_id": {"type": "str"},
    "container": {"type": "str"},
    "config_dir": {"type": "str"},
    "unit": {"type": "str"},
    "runtime_container": {"type": "str", "default": backend.DEFAULT_RUNTIME_CONTAINER},
}


def workspace_from(entry: t.Mapping[str, t.Any]) -> backend.Workspace:
    """One workspace from its options; surrounding blanks do not count, and an empty string counts as not given.

    Raises :class:`InvalidInputError` naming the workspace.
    """
    given = {name: (entry.get(name) or "").strip() or None for name in WORKSPACE_ARGUMENT_SPEC}
    workspace_id = names.validate_workspace_id(given["workspace_id"])
    validators = {
        "container": names.validate_container_name,
        "config_dir": names.validate_config_dir,
        "unit": names.validate_systemd_unit,
        "runtime_container": names.validate_container_name,
    }
    try:
        checked = {name: validate(given[name]) for name, validate in validators.items() if given[name] is not None}
    except InvalidInputError as error:
        raise InvalidInputError(f"workspace {workspace_id}: {error}") from error
    return backend.Workspace(workspace_id, runtime=given["runtime"], instance_id=given["instance_id"], **checked)


def refuse_duplicates(workspaces: t.Sequence[backend.Workspace]) -> None:
    """Raise :class:`InvalidInputError` for a workspace that is there twice: each has one answer, so each may be asked for once."""
    seen: set[str] = set()
    for workspace in workspaces:
        if workspace.workspace_id in seen:
            raise InvalidInputError(f"workspace {workspace.workspace_id} is listed twice; list each workspace once")
        seen.add(workspace.workspace_id)
