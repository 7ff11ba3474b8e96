# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the lab's workspaces the tests use, and what the lab's platform says of them."""
from __future__ import annotations

import pytest
from lab.api import Lab

DOCKER_WORKSPACE = "alpha"
EIC_WORKSPACE = "eic-claude"
PUSH_WORKSPACES = ["alpha", "beta", "renamed", "eic-claude", "eic-hermes", "eic-langgraph"]

both_tiers = pytest.mark.parametrize("workspace", [DOCKER_WORKSPACE, EIC_WORKSPACE], indirect=True)


def platform_variables(lab: Lab) -> dict[str, str]:
    """How the platform is asked."""
    return {
        "workspace_platform_url": lab.service["platform_url"],
        "workspace_platform_token": lab.world.data["platform"]["admin_token"],
        "workspace_platform_org_id": lab.world.data["platform"]["org_id"],
    }


def at_work(lab: Lab, name: str, tasks: int) -> None:
    """What the agent of a workspace reports to the platform."""
    with lab.world.transaction():
        lab.world.workspace(name)["active_tasks"] = tasks
