# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin on the lab: engine, EC2, platform, database and file together, and a role that has nothing left to look up."""
from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import yaml
from ansible_run import Run
from lab.api import Lab
from postgresql import PASSWORD, postgresql

pytestmark = pytest.mark.usefixtures("no_faults")

NAME = "molecule_ai.workspace.workspaces"


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[str]:
    """The platform's database with the lab's workspaces; it disagrees about a runtime, and knows one that was removed."""
    with postgresql() as dsn:
        with psycopg.connect(f"{dsn} password={PASSWORD}") as connection:
            for each in lab.world.data["workspaces"]:
                runtime = "langgraph" if each["name"] == "gamma" else each["runtime"]
                connection.execute(
                    "INSERT INTO workspaces (id, name, status, runtime, instance_id) VALUES (%s, %s, %s, %s, %s)",
                    (each["id"], each["name"], each["status"], runtime, each["instance_id"]),
                )
            connection.execute("INSERT INTO workspaces (id, name, status) VALUES ('dead0000-0000-4aaa-8bbb-00000000000d', 'gone', 'removed')")
        yield dsn


@pytest.fixture
def inventory(lab: Lab, database: str, tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory with the plugin's configuration and the group variables of the lab's simulated AWS."""
    (tmp_path / "known.yml").write_text(yaml.safe_dump([{"workspace_id": lab.world.workspace("eic-bare")["id"], "unit": "hermes.service"}]))
    configuration = {
        "plugin": NAME, "hostnames": ["workspace_name"],
        "sources": [
            {"type": "file", "path": "known.yml"},
            {"type": "platform", "platform_url": lab.service["platform_url"]},
            {"type": "database", "dsn": "{{ lookup('env', 'LAB_DSN') }}"},
            {"type": "docker"},
            {"type": "ec2", "regions": [lab.world.data["region"]], "endpoint_url": lab.service["aws_url"]},
        ],
        "keyed_groups": [{"key": "ansible_eic_region", "prefix": "region"}],
        "groups": {"disputed": "workspace_conflicts | length > 0"},
    }
    (tmp_path / "lab.workspaces.yml").write_text(yaml.safe_dump(configuration))
    (tmp_path / "group_vars").mkdir()
    shared = yaml.safe_load(lab.inventory.read_text())["workspaces"]["vars"]
    (tmp_path / "group_vars" / "all.yml").write_text(yaml.safe_dump({name: value for name, value in shared.items() if name.startswith("ansible_eic_")}))
    return tmp_path / "lab.workspaces.yml"


@pytest.fixture
def environment(lab: Lab, database: str) -> dict[str, str]:
    """Credentials as AWX injects them."""
    platform = lab.world.data["platform"]
    return {
        "MOLECULE_API_TOKEN": platform["admin_token"], "MOLECULE_ORG_ID": platform["org_id"], "LAB_DSN": f"{database} password={PASSWORD}",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    }


def list_inventory(lab: Lab, inventory: pathlib.Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(pathlib.Path(sys.executable).with_name("ansible-inventory")), "-i", str(inventory), *(arguments or ["--list"])]
    return subprocess.run(command, env={**lab.environment(), **environment}, capture_output=True, text=True, timeout=300, check=False)


def test_the_fleet_from_five_sources(lab: Lab, inventory: pathlib.Path, environment: dict[str, str]) -> None:
    """Every row of the ladder, one question to each place, and no secret in the output."""
    before = lab.counters()["describe_instances"]
    completed = list_inventory(lab, inventory, environment)
    assert completed.returncode == 0, completed.stderr
    # one by tag, and one for the instance that the database names and no tag led to
    assert lab.counters()["describe_instances"] - before == 2
    found: dict[str, Any] = json.loads(completed.stdout)
    hosts = found["_meta"]["hostvars"]
    tiers = {name: (each["workspace_tier"], each["workspace_backend"]["lookup"]) for name, each in hosts.items()}
    assert tiers == {
        "alpha": ("docker", "found"), "beta": ("docker", "found"), "gamma": ("docker", "found"), "renamed": ("docker", "found"),
        "eic-claude": ("eic", "found"), "eic-hermes": ("eic", "found"), "eic-langgraph": ("eic", "found"), "eic-bare": ("eic", "found"),
        "outside": ("external", "found"), "stopped": ("none", "not_found"), "unknown": ("none", "not_found"),
    }
    assert set(found["workspaces"]["children"]) == {"tier_docker", "tier_eic", "tier_external", "tier_none"}
    assert set(found["region_us_east_2"]["hosts"]) == {"eic-claude", "eic-hermes", "eic-langgraph", "eic-bare"}
    assert found["disputed"]["hosts"] == ["gamma"]
    assert hosts["gamma"]["workspace_conflicts"] == [
        {"field": "runtime", "used": "crewai", "source": "platform", "others": [{"source": "database", "value": "langgraph"}]}
    ]
    assert hosts["eic-hermes"]["workspace_backend"]["config_dir"] == "/home/ubuntu/.hermes"
    assert hosts["eic-bare"]["workspace_backend"]["restart"]["unit"] == "hermes.service"
    assert hosts["eic-bare"]["workspace_field_sources"]["unit"] == "file"
    world = lab.world.data
    for secret in (world["platform"]["admin_token"], world["credentials"]["secret_key"], PASSWORD):
        assert secret not in completed.stdout + completed.stderr
    graph = list_inventory(lab, inventory, environment, "--graph", "workspaces")
    assert "  |--@tier_eic:\n" in graph.stdout and "|--eic-claude" in graph.stdout


def test_the_role_looks_nothing_up_again(
    lab: Lab, ansible: Callable[..., Run], inventory: pathlib.Path, environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    """The inventory's connections work as they are; with backend_max_age 0 the role looks by itself and finds the same."""
    task = {"name": "Look", "ansible.builtin.command": "id -u", "changed_when": False}
    play = tmp_path / "play.yml"
    play.write_text(yaml.safe_dump([
        {"name": "Reach", "hosts": "alpha:eic-hermes", "gather_facts": False, "roles": ["molecule_ai.workspace.backend"], "tasks": [task]},
        {"name": "Look again", "hosts": "alpha:eic-hermes", "gather_facts": False, "vars": {"backend_max_age": 0},
         "roles": ["molecule_ai.workspace.backend"], "tasks": [task]},
    ]))
    lab.reset_counters()
    run = ansible(play, inventory=inventory, environment=environment).ok()
    assert [result["stdout"] for result in run.results("command")] == ["0"] * 4
    for host in ("alpha", "eic-hermes"):
        known, again = (result["ansible_facts"]["workspace_backend"] for result in run.results("workspace_backend_facts", host))
        assert known["looked_up_at"] and again["looked_up_at"] is None and again["connection"]
        assert [known[name] for name in ("tier", "container", "instance_id", "config_dir")] == [
            again[name] for name in ("tier", "container", "instance_id", "config_dir")]


def test_a_failed_source(lab: Lab, inventory: pathlib.Path, environment: dict[str, str]) -> None:
    """It fails the inventory in one sentence, or marks what it could hold."""
    lab.fault("deny_describe")
    failed = list_inventory(lab, inventory, environment)
    assert failed.returncode != 0 and "source ec2: " in failed.stderr and "DescribeInstances" in failed.stderr
    marked = list_inventory(lab, inventory, {**environment, "MOLECULE_INVENTORY_ON_ERROR": "mark"})
    assert marked.returncode == 0, marked.stderr
    hosts = json.loads(marked.stdout)["_meta"]["hostvars"]
    assert hosts["alpha"]["workspace_tier"] == "docker" and hosts["outside"]["workspace_tier"] == "external"
    lost = hosts["eic-claude"]
    assert (lost["workspace_tier"], lost["workspace_backend"]["lookup"]) == ("none", "failed") and "DescribeInstances" in lost["workspace_backend"]["reason"]
    assert lost["workspace_inventory_failures"][0]["source"] == "ec2"


def test_the_platform_asks_for_patience(lab: Lab, inventory: pathlib.Path, environment: dict[str, str]) -> None:
    """429 with Retry-After and 503 are waited out; a missing organisation is explained."""
    lab.fault("platform_rate_limit", count=1)
    lab.fault("platform_unavailable", count=1)
    completed = list_inventory(lab, inventory, environment)
    assert completed.returncode == 0 and "alpha" in completed.stdout, completed.stderr
    hidden = list_inventory(lab, inventory, {name: value for name, value in environment.items() if name != "MOLECULE_ORG_ID"})
    assert hidden.returncode != 0 and "platform_org_id is not set" in " ".join(hidden.stderr.split())
