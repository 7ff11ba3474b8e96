# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What many tests of the workspace half begin with; those of placements, which need no more than a config dir, have a workspace of their own."""
from __future__ import annotations

import pathlib

import pytest
from plugin_samples import V1, Workspace


@pytest.fixture(name="workspace")
def fixture_workspace(tmp_path: pathlib.Path) -> Workspace:
    """One in which nothing was installed yet."""
    return Workspace(tmp_path)


@pytest.fixture(name="installed")
def fixture_installed(workspace: Workspace) -> Workspace:
    """One with the first version of a plugin, and nothing left to do."""
    workspace.apply({"ecc": V1})
    workspace.confirm_restart()
    return workspace
