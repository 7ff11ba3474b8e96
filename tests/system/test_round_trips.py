# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run costs: counted by the lab, not by the product."""
from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

from ansible_run import Run
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from lab.remote_calls import remote_calls
from workspaces import both_tiers

INSTALL = "molecule_ai.workspace.install"


@both_tiers
def test_ten_plugins_are_one_look_one_apply_and_one_restart(
    lab: Lab, ansible: Callable[..., Run], workspace: str, tmp_path: pathlib.Path, fresh_connections: None
) -> None:
    plugins = []
    for number in range(10):
        name = f"plugin-{number}"
        write_tree(tmp_path / name, {"plugin.yaml": manifest(name, "1.0.0", "One of ten"), "rules/rule.md": f"Rule {number}\n"})
        plugins.append({"name": name, "source": str(tmp_path / name)})
    variables = {"workspace_plugins": plugins}
    starts = len(lab.starts(workspace))

    with remote_calls(lab, workspace) as calls:
        run = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert len(run.result("molecule_plugin", workspace)["plugins"]) == 10
    assert len(lab.starts(workspace)) == starts + 1
    assert sorted(lab.loaded_names(workspace)) == sorted(plugin["name"] for plugin in plugins)
    # The plugins travel with the call that applies them. The restart is one call on the EC2 host; a container is asked before and told after.
    assert (calls.executions, calls.transfers) == (3 if workspace.startswith("eic") else 4, 0), calls

    with remote_calls(lab, workspace) as calls:
        again = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert again.stats[workspace]["changed"] == 0
    assert (calls.executions, calls.transfers) == (1, 0)
    assert len(lab.starts(workspace)) == starts + 1
    if workspace.startswith("eic"):
        assert calls.tunnels <= 1


@both_tiers
def test_a_large_plugin_goes_in_pieces_and_without_pipelining_the_modules_do_the_same(
    lab: Lab, ansible: Callable[..., Run], workspace: str, tmp_path: pathlib.Path, fresh_connections: None
) -> None:
    write_tree(tmp_path / "large", {"plugin.yaml": manifest("large", "1.0.0", "More than goes along with a call")})
    (tmp_path / "large" / "noise").write_bytes(os.urandom(17 * 1024 * 1024))
    variables: dict[str, object] = {"workspace_plugins": [{"name": "large", "source": str(tmp_path / "large")}]}
    with remote_calls(lab, workspace) as calls:
        ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert lab.loaded_names(workspace) == ["large"]
    # Two pieces of at most 16 MiB go before the call that applies them: no file is transferred, no temporary directory made.
    assert (calls.executions, calls.transfers) == (3 + 2 if workspace.startswith("eic") else 4 + 2, 0), calls

    variables = {"workspace_plugins": [{"name": "large", "state": "absent"}], "ansible_pipelining": False}
    removed = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert removed.stats[workspace]["changed"] > 0
    assert lab.loaded_names(workspace) == []
    again = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert again.stats[workspace]["changed"] == 0
