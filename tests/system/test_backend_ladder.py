# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the tier ladder, looked up for real on the lab's engine and simulated EC2."""
from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_run import Run
from lab.api import Lab

pytestmark = pytest.mark.usefixtures("no_faults")

FACTS = "molecule_ai.workspace.workspace_backend_facts"
ALL = ["alpha", "beta", "gamma", "eic-claude", "eic-hermes", "eic-langgraph", "outside", "stopped", "unknown", "renamed"]


@pytest.fixture
def facts(lab: Lab, ansible: Callable[..., Run], tmp_path: pathlib.Path) -> Callable[..., dict[str, Any]]:
    """Look one workspace up with some options on top of the lab's addresses."""

    def look_up(check: bool = False, **options: Any) -> dict[str, Any]:
        common = {
            "docker_host": lab.world.data["docker_host"], "region": lab.world.data["region"],
            "endpoint_url": lab.service["aws_url"], "aws_ca_bundle": lab.service["ca_file"],
        }
        task = {"name": "Look up", FACTS: {**common, **options}}
        play = tmp_path / "play.yml"
        play.write_text(yaml.safe_dump([{"name": "Facts", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]))
        return ansible(play, check=check).ok().result("workspace_backend_facts", "localhost")["ansible_facts"]

    return look_up


def given(lab: Lab, name: str) -> dict[str, Any]:
    """What the platform knows of the workspace."""
    workspace = lab.world.reload().workspace(name)
    known = {"workspace_id": workspace["id"], "runtime": workspace["runtime"], "instance_id": workspace["instance_id"]}
    return {key: value for key, value in known.items() if value}


def test_fifty_workspaces_cost_one_engine_listing_and_one_ec2_query(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    workspaces = [given(lab, name) for name in ALL]
    workspaces += [{"workspace_id": f"0bad0000-0000-4aaa-8bbb-{number:012x}"} for number in range(50 - len(workspaces))]
    before = lab.counters()["describe_instances"]
    found = facts(workspaces=workspaces)["workspace_backends"]
    assert lab.counters()["describe_instances"] - before == 1
    tiers = {name: found[given(lab, name)["workspace_id"]]["tier"] for name in ALL}
    assert tiers == {
        "alpha": "docker", "beta": "docker", "gamma": "docker", "renamed": "docker",
        "eic-claude": "eic", "eic-hermes": "eic", "eic-langgraph": "eic",
        # what is given is believed, as the platform does: that this instance is gone is seen when it is reached
        "unknown": "eic",
        "outside": "external", "stopped": "none",
    }
    assert {found[workspace["workspace_id"]]["tier"] for workspace in workspaces[len(ALL):]} == {"none"}


def test_docker(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    backend = facts(**given(lab, "alpha"))["workspace_backend"]
    assert (backend["tier"], backend["lookup"], backend["config_dir"]) == ("docker", "found", "/configs")
    assert backend["container"] == lab.runtime_container_name("alpha")
    assert backend["restart"] == {"method": "docker_engine", "container": backend["container"], "unit": None}


@pytest.mark.parametrize(
    ("runtime", "config_dir"),
    [
        ("claude-code", "/configs"), ("hermes", "/home/ubuntu/.hermes"), (" Hermes ", "/home/ubuntu/.hermes"),
        ("langgraph", "/opt/configs"), ("", "/configs"), ("unheard-of", "/configs"),
    ],
)
def test_eic_config_dir_by_runtime(lab: Lab, facts: Callable[..., dict[str, Any]], runtime: str, config_dir: str) -> None:
    backend = facts(workspace_id=given(lab, "eic-claude")["workspace_id"], instance_id="i-0a1b2c3d4e5f60001", runtime=runtime)["workspace_backend"]
    assert (backend["tier"], backend["instance_id"], backend["config_dir"]) == ("eic", "i-0a1b2c3d4e5f60001", config_dir)
    assert backend["restart"]["method"] == "ec2_host" and backend["restart"]["container"] == "molecule-workspace"
    assert backend["connection"]["ansible_connection"] == "molecule_ai.workspace.eic"


def test_instance_and_runtime_are_found_by_tag(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    backend = facts(workspace_id=given(lab, "eic-hermes")["workspace_id"])["workspace_backend"]
    assert (backend["tier"], backend["runtime"], backend["config_dir"]) == ("eic", "hermes", "/home/ubuntu/.hermes")


def test_external_wins_over_an_instance_id(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    backend = facts(workspace_id=given(lab, "outside")["workspace_id"], runtime="external", instance_id="i-0a1b2c3d4e5f60001")["workspace_backend"]
    assert backend["tier"] == "external"
    assert f"/workspaces/{given(lab, 'outside')['workspace_id']}/plugins/" in backend["download_hint"]


def test_a_container_name_in_instance_id_is_docker_and_never_eic(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    backend = facts(**given(lab, "renamed"))["workspace_backend"]
    assert (backend["tier"], backend["container"]) == ("docker", "mol-ws-renamed-5f3a9c")
    gone = facts(workspace_id=given(lab, "renamed")["workspace_id"], instance_id="mol-ws-gone-000000")["workspace_backend"]
    assert gone["tier"] == "none"


def test_a_stopped_container_is_nothing_found(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    backend = facts(**given(lab, "stopped"))["workspace_backend"]
    assert (backend["tier"], backend["lookup"]) == ("none", "not_found")


def test_a_failed_engine_lookup_is_not_nothing_found(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    backend = facts(**{**given(lab, "alpha"), "docker_host": "unix:///nonexistent/docker.sock"})["workspace_backend"]
    assert (backend["tier"], backend["lookup"]) == ("none", "failed")
    assert "/nonexistent/docker.sock" in backend["reason"]
    eic = facts(**{**given(lab, "eic-claude"), "docker_host": "unix:///nonexistent/docker.sock"})["workspace_backend"]
    assert (eic["tier"], eic["lookup"]) == ("none", "failed")


def test_a_failed_ec2_lookup_never_guesses_the_config_dir(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    lab.fault("deny_describe")
    backend = facts(workspace_id=given(lab, "eic-hermes")["workspace_id"], instance_id="i-0a1b2c3d4e5f60002")["workspace_backend"]
    assert (backend["tier"], backend["lookup"], backend["config_dir"]) == ("none", "failed", None)
    assert "the action DescribeInstances" in backend["reason"]


def test_check_mode_looks_all_the_same(lab: Lab, facts: Callable[..., dict[str, Any]]) -> None:
    assert facts(check=True, **given(lab, "alpha"))["workspace_backend"]["tier"] == "docker"
