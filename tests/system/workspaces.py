# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the lab's workspaces the tests use."""
from __future__ import annotations

import pytest

DOCKER_WORKSPACE = "alpha"
EIC_WORKSPACE = "eic-claude"
PUSH_WORKSPACES = ["alpha", "beta", "renamed", "eic-claude", "eic-hermes", "eic-langgraph"]

both_tiers = pytest.mark.parametrize("workspace", [DOCKER_WORKSPACE, EIC_WORKSPACE], indirect=True)
