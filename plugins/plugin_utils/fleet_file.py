# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A static file as a source of an inventory: what an operator knows of workspaces and no other source says."""
from __future__ import annotations

import typing as t

from ..module_utils.errors import InvalidInputError
from . import workspace_options
from .fleet_records import FIELDS, Answer, Record

_KEYS = ("workspace_id", *FIELDS)


def read(content: t.Any, path: str) -> Answer:
    """The answer from the loaded content: a list of workspaces, or a dictionary with that list under ``workspaces``.

    Raises :class:`InvalidInputError` that names file and workspace: a mistake in it is the user's, in any mode.
    """
    entries = content.get("workspaces") if isinstance(content, t.Mapping) else content
    if not isinstance(entries, list) or not all(isinstance(entry, t.Mapping) for entry in entries):
        raise InvalidInputError(f"{path}: give a list of workspaces, each a dictionary with workspace_id, or such a list under the key 'workspaces'")
    try:
        for entry in entries:
            unknown = sorted(str(key) for key in entry if key not in _KEYS)
            if unknown:
                raise InvalidInputError(f"workspace {entry.get('workspace_id')}: unknown key {', '.join(unknown)}; known are {', '.join(_KEYS)}")
            wrong = sorted(key for key, value in entry.items() if not isinstance(value, str | int | None) or isinstance(value, bool))
            if wrong:
                raise InvalidInputError(f"workspace {entry.get('workspace_id')}: {', '.join(wrong)} must be a text")
        workspaces = [workspace_options.workspace_from({key: None if value is None else str(value) for key, value in entry.items()}) for entry in entries]
        workspace_options.refuse_duplicates(workspaces)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error
    return Answer(records=[Record.of(workspace.workspace_id, entry) for workspace, entry in zip(workspaces, entries)])
