"""What a run costs: counted by the lab, not by the product."""
from __future__ import annotations

import pathlib
from collections.abc import Callable

from ansible_run import Run
from lab.api import Lab
from lab.fixtures import manifest, write_tree
from lab.remote_calls import remote_calls
from workspaces import both_tiers

INSTALL = "molecule_ai.workspace.install"


@both_tiers
def test_ten_plugins_are_one_look_one_transfer_one_apply_and_one_restart(
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
    assert calls.transfers == 1
    # One look, one apply, one restart (on the EC2 host in one call; a container is asked before and told after), and what the transfer
    # needs: the temporary directory made and removed, and one question of the connection about the user there.
    assert calls.executions == (1 if workspace.startswith("eic") else 2) + 5, calls

    with remote_calls(lab, workspace) as calls:
        again = ansible(INSTALL, limit=workspace, variables=variables).ok()
    assert again.stats[workspace]["changed"] == 0
    assert (calls.executions, calls.transfers) == (1, 0)
    assert len(lab.starts(workspace)) == starts + 1
    if workspace.startswith("eic"):
        assert calls.tunnels <= 1
