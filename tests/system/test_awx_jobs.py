# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every playbook as a job of AWX: by ansible-runner, out of AWX's private data directory, with the credential and the project that are shipped."""
from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ansible_run import COLLECTIONS, REPOSITORY
from awx_jobs import PROJECT, Job, Template, run, run_remotely
from expected import expected_items, wanted
from lab.api import Lab
from lab.sts_actions import ROLE_SECRET_PREFIX
from lab.world import ROLE_ARN

HOSTS = ["alpha", "beta", "eic-claude", "eic-hermes"]
MERGE = COLLECTIONS / "ansible_collections" / "molecule_ai" / "workspace" / "playbooks" / "files" / "molecule-audit"


class Unsafe(yaml.SafeLoader):
    """YAML of Ansible's, with its ``!unsafe`` texts as what they are."""


Unsafe.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def shipped_injectors() -> dict[str, dict[str, str]]:
    """The injectors of the credential type for a fleet, out of the role's data."""
    data = yaml.load((REPOSITORY / "roles" / "awx_setup" / "objects" / "credential_types.yml").read_text(encoding="utf-8"), Unsafe)
    return {
        "file": {"template.aws": data["awx_data_aws_config"]},
        "env": {**data["awx_data_platform_environment"], "AWS_CONFIG_FILE": data["awx_data_aws_config_path"]},
    }


@pytest.fixture(scope="module")
def template(lab: Lab, plugin_sources: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """A job template: the fleet as AWX has imported it, the shipped project with a list of plugins, a credential for platform and AWS role."""
    lab.clear_faults()
    for name in HOSTS:
        lab.reset(name)
    directory = tmp_path_factory.mktemp("template")
    shutil.copytree(PROJECT, directory / "project")
    plugins = [{**plugin, "any_runtime": True} for plugin in wanted(plugin_sources, "careful-bash", "ecc")]
    variables = {"workspace_plugins": plugins, "plugins_exclusive": True, "restart_method": "none"}
    (directory / "project" / "inventory" / "group_vars" / "workspaces.yml").write_text(yaml.safe_dump(variables))
    world, service = lab.world.data, lab.service
    inputs = {
        "platform_url": service["platform_url"], "platform_token": world["platform"]["admin_token"], "platform_org_id": world["platform"]["org_id"],
        "role_arn": ROLE_ARN, "region": world["region"], "access_key": world["credentials"]["access_key"], "secret_key": world["credentials"]["secret_key"],
    }  # fmt: skip
    names = ("DOCKER_HOST", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED", "PATH", "NO_PROXY", "no_proxy", "HOME")
    kept = {name: value for name, value in lab.environment().items() if name in names}
    environment = {**kept, "AWS_ENDPOINT_URL_STS": service["aws_url"]}
    made = Template({}, environment, shipped_injectors(), inputs, directory / "project")
    made.listed.update(imported(lab, made, directory))
    yield made


def imported(lab: Lab, template: Template, directory: pathlib.Path) -> dict[str, Any]:
    """What an inventory update of AWX imports: ``ansible-inventory`` on the project's file, with the credential's environment."""
    inventory = template.project / "inventory"
    sources = yaml.safe_load((inventory / "fleet.workspaces.yml").read_text(encoding="utf-8"))
    (ec2,) = [source for source in sources["sources"] if source["type"] == "ec2"]
    ec2["endpoint_url"] = lab.service["aws_url"]
    sources["sources"].append({"type": "docker"})
    (inventory / "fleet.workspaces.yml").write_text(yaml.safe_dump(sources))
    shared = yaml.safe_load(lab.inventory.read_text())["workspaces"]["vars"]
    (inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(shared))
    (directory / "env").mkdir()
    completed = subprocess.run(
        [str(pathlib.Path(sys.executable).with_name("ansible-inventory")), "-i", str(inventory / "fleet.workspaces.yml"), "--list", "--export"],
        env={**template.environment, **template.inject(directory, directory), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    listed: dict[str, Any] = json.loads(completed.stdout)
    assert set(HOSTS) < set(listed["_meta"]["hostvars"]), completed.stderr
    return listed


def only(hosts: list[str]) -> list[str]:
    return ["-l", ",".join(hosts)]


def successful(job: Job) -> Job:
    assert job.status == "successful", job.output
    return job


@pytest.fixture
def nodes() -> Iterator[pathlib.Path]:
    """A directory for jobs with a short name, as ``/runner`` is, because sockets' paths are."""
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp") as directory:
        yield pathlib.Path(directory)


def test_the_jobs_of_a_fleet(lab: Lab, template: Template, plugin_sources: pathlib.Path, nodes: pathlib.Path) -> None:
    """Sync, install, rollback, remove and restart; only a sync removes what nobody has named; nothing secret in what AWX stores."""
    roles_before = lab.counters()["roles_assumed"]
    source = str(plugin_sources / "superpowers")
    survey = {"workspace_plugin_name": "superpowers", "workspace_plugin_source": source, "workspace_plugin_allow_unpinned": "false"}
    # as AWX sends a survey that nobody has touched: what the inventory says counts, which restarts nothing and removes what is in nobody's list
    untouched = {"workspace_restart_method": "inventory", "workspace_canary": "", "workspace_serial": "", "workspace_max_fail_percentage": ""}

    def job(number: int, playbook: str, answers: dict[str, Any], *arguments: str) -> Job:
        return run(template.prepare(nodes / str(number), number, f"{playbook}.yml", {}, {**untouched, **answers}, *arguments))

    def live(name: str) -> set[str]:
        return {path.split("/")[0] for path in lab.snapshot(name, "plugins") if path}

    starts = {name: len(lab.starts(name)) for name in HOSTS}
    lab.write_file("beta", "plugins/planted/plugin.yaml", "name: planted\n")
    synchronised = successful(job(1, "sync", {"workspace_plugins_exclusive": "inventory", "workspace_canary": "1"}, *only(HOSTS[1:3])))
    assert set(synchronised.stats["changed"]) == {"beta", "eic-claude"} and synchronised.output.count("PLAY [") == 2
    assert live("beta") == live("eic-claude") == {"careful-bash", "ecc"}
    installed = successful(job(2, "install", survey, *only(HOSTS)))
    assert {host for event in installed.events if event["event"] == "runner_on_ok" for host in [event["event_data"]["host"]]} == set(HOSTS)
    assert lab.counters()["roles_assumed"] > roles_before
    for name in HOSTS:
        assert lab.snapshot(name, "plugins/superpowers") == expected_items(plugin_sources / "superpowers")
        assert live(name) == ({"superpowers", "careful-bash", "ecc"} if name in HOSTS[1:3] else {"superpowers"})
    successful(job(3, "rollback", {"workspace_plugin_names": "superpowers"}, *only(["alpha"])))
    successful(job(4, "remove", {"workspace_plugin_names": "superpowers, ecc"}, *only(HOSTS[2:])))
    assert (live("alpha"), live("eic-claude"), live("eic-hermes")) == (set(), {"careful-bash"}, set())
    assert {name: len(lab.starts(name)) for name in HOSTS} == starts
    successful(job(5, "restart", {"workspace_restart_force": "false", "workspace_restart_method": "in_place"}, *only(HOSTS[1:3])))
    assert {name: len(lab.starts(name)) - count for name, count in starts.items()} == {"alpha": 0, "beta": 1, "eic-claude": 1, "eic-hermes": 0}
    stored = "".join(Job("", nodes / str(number), str(number)).everything for number in range(1, 6))
    assert "superpowers" in stored
    for secret in (*(template.inputs[name] for name in ("platform_token", "secret_key")), ROLE_SECRET_PREFIX):
        assert secret not in stored


def test_a_sliced_audit_over_the_mesh(lab: Lab, template: Template, nodes: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Two slices on execution nodes, each report in a directory of its own, and one report of both that has each workspace once."""
    reports = tmp_path / "reports"
    listed = {**template.listed, "_meta": {"hostvars": {name: template.listed["_meta"]["hostvars"][name] for name in HOSTS}}}
    sliced = Template(listed, template.environment, template.injectors, template.inputs, template.project)
    template_vars = {"workspace_audit_fail_on": ["drift", "unknown", "none"], "workspace_audit_output_dir": f"{reports}/{{{{ awx_job_id }}}}"}
    lab.write_file("beta", "plugins/planted/plugin.yaml", "name: planted\n")
    found: dict[str, int] = {}
    for number in (1, 2):
        worker = nodes / str(number)
        parameters = sliced.prepare(tmp_path / f"job{number}", 20 + number, "audit.yml", template_vars, {}, "--check", slice_of=(number, 2), seen_as=worker)
        job = run_remotely(parameters, worker)
        assert job.status == ("failed" if job.stats["artifact_data"]["workspace_audit_drift"] else "successful"), job.output
        for name in ("workspaces", "drift", "unknown"):
            found[name] = found.get(name, 0) + job.stats["artifact_data"][f"workspace_audit_{name}"]
        assert "Audit of 2 workspaces" in job.output and "\x1b[K" not in job.output, "the live line of a terminal in what AWX stores"
    assert found["workspaces"] == 4 and found["drift"] >= 1 and found["unknown"] == 0
    merged = subprocess.run(
        [sys.executable, str(MERGE), "merge", *sorted(map(str, reports.glob("*/drift.json"))), "--output-dir", str(tmp_path / "fleet")],
        capture_output=True, text=True, check=False, timeout=120, env={**template.environment, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)},
    )  # fmt: skip
    report = json.loads((tmp_path / "fleet" / "drift.json").read_text(encoding="utf-8"))
    assert sorted(record["host"] for record in report["workspaces"]) == HOSTS, merged.stderr
    assert {run["job"]["id"] for run in report["runs"]} == {"21", "22"} and not report["conflicts"]
    assert next(record["state"] for record in report["workspaces"] if record["host"] == "beta") == "drift"
