# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The eic connection on the lab: one tunnel, one login, one key push, and one clear sentence when it fails."""
from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_run import Run
from expected import wanted
from lab.api import Lab

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
HOST = "eic-claude"
RAW_TEXT = ["kex_exchange_identification", "Connection closed by UNKNOWN", "UNKNOWN port 65535", "ssh_dispatch_run_fatal", "banner exchange"]


@pytest.fixture
def play(tmp_path: pathlib.Path) -> Callable[[list[dict[str, Any]]], pathlib.Path]:
    """Write a play over the EIC workspaces that has found its connection, then runs these tasks."""

    def write(tasks: list[dict[str, Any]]) -> pathlib.Path:
        path = tmp_path / "play.yml"
        roles = [{"role": "molecule_ai.workspace.backend"}]
        path.write_text(yaml.safe_dump([{"name": "EIC", "hosts": "lab_eic", "gather_facts": False, "roles": roles, "tasks": tasks}], sort_keys=False))
        return path

    return write


def task(module: str, **arguments: Any) -> dict[str, Any]:
    """A task that runs a builtin module."""
    return {"name": module, f"ansible.builtin.{module}": arguments}


def test_ten_tasks_cost_one_tunnel_and_one_key_push(lab: Lab, ansible: Callable[..., Run], play: Callable[..., pathlib.Path], fresh_connections: None) -> None:
    before = lab.counters()
    ansible(play([task("command", argv=["true"]) for _index in range(10)]), limit=HOST).ok()
    after = lab.counters()
    assert after["tunnels"] - before["tunnels"] == 1
    assert after["key_pushes"] - before["key_pushes"] == 1


def test_become_copy_fetch_and_reset(
    lab: Lab, ansible: Callable[..., Run], play: Callable[..., pathlib.Path], tmp_path: pathlib.Path, fresh_connections: None
) -> None:
    content = "ünïcode 'quotes' \"and\" $(id)\n" * 500
    tasks = [
        task("command", argv=["id", "-u"]),
        task("copy", content=content, dest="/root/a file", mode="0600"),
        {"name": "Reset", "ansible.builtin.meta": "reset_connection"},
        task("fetch", src="/root/a file", dest=str(tmp_path / "fetched"), flat=True),
    ]
    before = lab.counters()["tunnels"]
    run = ansible(play(tasks), limit=HOST).ok()
    assert run.result("command", HOST)["stdout"] == "0"
    assert (tmp_path / "fetched").read_text() == content
    assert lab.counters()["tunnels"] - before == 2
    # what role backend sets is stronger than a task's keyword, and extra variables are stronger than that
    plain = ansible(play([task("command", argv=["id", "-un"])]), limit=HOST, variables={"ansible_become": False}).ok()
    assert plain.result("command", HOST)["stdout"] == "ubuntu"


@pytest.mark.parametrize(
    ("fault", "parameters", "named"),
    [
        ("deny_push", {}, "ec2-instance-connect:SendSSHPublicKey"),
        ("deny_tunnel", {}, "ec2-instance-connect:OpenTunnel"),
        ("target_unreachable", {}, "security group"),
        ("lose_key", {}, "ubuntu"),
        ("refuse_tunnel", {}, "endpoint"),
    ],
)
def test_a_failing_eic_is_unreachable_with_one_sentence_and_others_go_on(
    lab: Lab, ansible: Callable[..., Run], plugin_sources: pathlib.Path, fresh_connections: None, fault: str, parameters: dict[str, Any], named: str
) -> None:
    lab.reset("alpha")
    instance = lab.world.reload().instance_of(lab.world.workspace(HOST))["instance_id"]
    lab.fault(fault, instance_id=instance, **parameters)
    before = lab.snapshot(HOST)
    run = ansible(INSTALL, limit=f"{HOST},alpha", variables={"workspace_plugins": wanted(plugin_sources, "ecc")})
    assert run.stats[HOST]["unreachable"] == 1 and run.stats["alpha"]["unreachable"] == run.stats["alpha"]["failures"] == 0
    assert lab.loaded_names("alpha") == ["ecc"]
    (message,) = [record["result"]["msg"] for record in run.records if record["status"] == "unreachable"]
    assert named in message and instance in message, message
    assert "\n" not in message.strip() and not [text for text in RAW_TEXT if text in run.output], run.output
    assert lab.snapshot(HOST) == before


def test_removal_over_a_failing_eic_is_unreachable_and_not_success(lab: Lab, ansible: Callable[..., Run], fresh_connections: None) -> None:
    lab.fault("target_unreachable")
    run = ansible("molecule_ai.workspace.remove", limit=HOST, variables={"workspace_plugin_names": ["ecc"]})
    assert run.returncode != 0 and run.stats[HOST]["unreachable"] == 1


def test_no_secret_in_the_most_verbose_output(lab: Lab, ansible: Callable[..., Run], play: Callable[..., pathlib.Path], fresh_connections: None) -> None:
    run = ansible(play([task("command", argv=["true"])]), limit=HOST, verbosity=4).ok()
    assert lab.world.data["credentials"]["secret_key"] not in run.output
    assert "X-Amz-Signature" not in run.output and "PRIVATE KEY" not in run.output
