# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's API as a source of an inventory: every workspace that it shows an administrator, without the removed ones."""
from __future__ import annotations

import typing as t

from .fleet_records import Answer, Record
from .platform_api import Platform, PlatformError, PlatformOptions


def ask(parameters: t.Mapping[str, t.Any]) -> Answer:
    """List the workspaces; a failure is part of the answer, only options that cannot work raise ``InvalidInputError``.

    The platform's ``tier`` is a size and its ``url`` the agent's, so neither is taken. An instance id is in none of its answers.
    """
    options = PlatformOptions.from_parameters(parameters)
    try:
        listing = Platform(options).workspaces()
    except PlatformError as error:
        return Answer(failure=str(error))
    known = ("name", "runtime", "status", "parent_id")
    return Answer(records=[
        Record.of(str(workspace.get("id") or ""), {**{name: workspace.get(name) for name in known}, "org_id": options.org_id}) for workspace in listing
    ])
