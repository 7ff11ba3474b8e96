# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an agent is at work, from what the platform says of its workspace. Pure; it asks nobody.

The platform's public source (April 2026): both ``GET /workspaces`` and ``GET /workspaces/:id`` have ``active_tasks``, which the agent reports every 30
seconds, and which keeps its last value when the agent is gone. So it counts only in a status in which an agent can be at work.
"""
from __future__ import annotations

import typing as t

from ..module_utils.errors import WorkspaceError
from ..module_utils.names import is_integer

NO_AGENT = frozenset({"offline", "failed", "paused", "hibernated", "removed"})
"""Statuses in which no agent runs, so that a number of tasks is what was left of the last one."""


def activity(workspace: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """``{"busy", "active_tasks", "status"}`` of the platform's object of a workspace.

    Raises :class:`WorkspaceError` when it says nothing of tasks: not knowing is not idle.
    """
    status = str(workspace.get("status") or "").strip().lower()
    tasks = workspace.get("active_tasks")
    if not is_integer(tasks) or t.cast(int, tasks) < 0:
        raise WorkspaceError(
            f"the platform does not say how many tasks workspace {workspace.get('id')} is working on (active_tasks), so nobody knows whether it is busy: "
            "do not skip busy workspaces with this release of the platform"
        )
    return {"busy": t.cast(int, tasks) > 0 and status not in NO_AGENT, "active_tasks": tasks, "status": status}
