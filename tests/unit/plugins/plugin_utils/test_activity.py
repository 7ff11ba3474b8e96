# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an agent is at work, and when nobody can say."""
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import WorkspaceError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.activity import activity


@pytest.mark.parametrize(("status", "tasks", "busy"), [
    ("online", 0, False), ("online", 1, True), ("Degraded", 3, True), ("provisioning", 1, True), ("something-new", 1, True), (None, 1, True),
    ("offline", 2, False), ("failed", 2, False), ("paused", 2, False), ("hibernated", 2, False),
])
def test_busy(status: str | None, tasks: int, busy: bool) -> None:
    """A number that is left of an agent that is gone does not count."""
    found = activity({"id": "a", "status": status, "active_tasks": tasks})
    assert found == {"busy": busy, "active_tasks": tasks, "status": (status or "").lower()}


@pytest.mark.parametrize("tasks", [{}, {"active_tasks": None}, {"active_tasks": "2"}, {"active_tasks": True}, {"active_tasks": -1}, {"active_tasks": 0.5}])
def test_not_knowing_is_not_idle(tasks: dict[str, t.Any]) -> None:
    with pytest.raises(WorkspaceError, match="nobody knows whether it is busy"):
        activity({"id": "a", "status": "online", **tasks})
