# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job with the collection as users get it: installed from its tarball, the checkout not in sight."""
from __future__ import annotations

import pathlib
from collections.abc import Callable

from ansible_run import Run
from expected import expected_items, wanted
from lab.api import Lab
from workspaces import DOCKER_WORKSPACE, EIC_WORKSPACE

PLUGIN = "browser-automation"


def test_playbooks_of_the_installed_tarball_do_the_job_on_both_tiers(
    lab: Lab, ansible: Callable[..., Run], installed: dict[str, str], plugin_sources: pathlib.Path, fresh_connections: None
) -> None:
    workspaces = [DOCKER_WORKSPACE, EIC_WORKSPACE]
    for name in workspaces:
        lab.reset(name)
    options = {"limit": ",".join(workspaces), "environment": installed}
    variables = {"workspace_plugins": wanted(plugin_sources, PLUGIN)}
    ansible("molecule_ai.workspace.sync", variables=variables, **options).ok()
    for name in workspaces:
        assert lab.snapshot(name, f"plugins/{PLUGIN}") == expected_items(plugin_sources / PLUGIN)
        assert lab.loaded_names(name) == [PLUGIN]
    audit = ansible("molecule_ai.workspace.audit", variables=variables, **options).ok()
    assert [audit.result("molecule_plugin", name)["drift"] for name in workspaces] == [[], []]
    ansible("molecule_ai.workspace.remove", variables={"workspace_plugin_names": [PLUGIN]}, **options).ok()
    assert [lab.loaded_names(name) for name in workspaces] == [[], []]
