# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role ``awx_setup`` with the real modules of awx.awx: check, run, run again, and what AWX would refuse."""
from __future__ import annotations

import copy
import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import yaml
from awx_server import AWX, PLAYBOOKS
from setup_run import REPOSITORY, Setup

CHANNEL = {
    "name": "Channel", "notification_type": "mattermost",
    "notification_configuration": {
        "mattermost_url": "https://chat.example.com/hooks/x", "mattermost_username": "awx", "mattermost_channel": "ops", "mattermost_icon_url": "",
        "mattermost_no_verify_ssl": False,
    },
}  # fmt: skip
VARIABLES: dict[str, Any] = {
    "awx_setup_project_url": "https://git.example.com/fleet.git", "awx_setup_ee_image": "registry.example.com/workspaces-ee:1",
    "awx_setup_platform_url": "https://acme.moleculesai.app", "awx_setup_platform_token": "a-secret-token",
    "awx_setup_aws_role_arn": "arn:aws:iam::123456789012:role/ops",
    "awx_setup_audit_slices": 4, "awx_setup_audit_output_dir": "/var/lib/drift",
    "awx_setup_notifications": [CHANNEL],
    "awx_setup_instance_group_definitions": [{"name": "Jobs", "max_concurrent_jobs": 4}], "awx_setup_instance_groups": ["Jobs"],
}  # fmt: skip
EVERYTHING = 4 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 6 + 1 + 4 + 1
"""Types and groups, organisation, credential, environment, project, inventory, source, notification, templates, workflow, nodes, schedule."""


def named(awx: AWX, kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in awx.objects[kind].values() if name in (item.get("name"), item.get("identifier"))]
    return found


def linked(awx: AWX, kind: str, name: str, relation: str) -> list[str]:
    ids = awx.links.get((kind, named(awx, kind, name)["id"], relation), [])
    return [item.get("name") or item["identifier"] for items in awx.objects.values() for item in items.values() if item["id"] in ids]


def options_of(role: str) -> set[str]:
    """What steers a role, and what it takes from the inventory."""
    entries = yaml.safe_load((REPOSITORY / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
    return {option for entry in entries.values() for option in entry["options"]}


def only(directory: pathlib.Path, *kinds: str) -> pathlib.Path:
    """A copy of the role's data without the objects of any other kind."""
    shutil.copytree(REPOSITORY / "roles" / "awx_setup" / "objects", directory)
    for path in directory.glob("*.yml"):
        if path.stem not in (*kinds, "surveys"):
            path.write_text(f"---\nawx_data_{path.stem}: []\n", encoding="utf-8")
    return directory


def test_check_run_and_run_again(awx: tuple[str, AWX], setup: Setup, tmp_path: pathlib.Path) -> None:
    server = awx[1]
    for name in ("ecc", "careful-bash"):
        (tmp_path / "registry" / name).mkdir(parents=True)
        (tmp_path / "registry" / name / "plugin.yaml").write_text("version: 1.0.0\n", encoding="utf-8")
    offered = f"{{{{ query('molecule_ai.workspace.registry', '{tmp_path / 'registry'}') | map(attribute='name') | list }}}}"
    variables = {**VARIABLES, "awx_setup_plugins": offered}
    predicted = setup(variables, "--check")
    assert predicted.returncode == 0, predicted.output
    assert not server.writes
    made = setup(variables)
    assert made.returncode == 0, made.output
    objects = sum(len(items) for items in server.objects.values()) - len(server.objects["workflow_approval_templates"])
    assert objects == EVERYTHING
    # check mode has said each of them once; the run says the three nodes with links twice
    assert len(predicted.changed()) == EVERYTHING and len(made.changed()) == EVERYTHING + 3
    assert "a-secret-token" not in predicted.output + made.output

    audit = named(server, "job_templates", "Molecule AI audit")
    assert (audit["job_type"], audit["job_slice_count"], audit["allow_simultaneous"], audit["playbook"]) == ("check", 4, True, "audit.yml")
    policy = {"workspace_audit_fail_on": ["drift", "unknown", "none"]}
    assert json.loads(audit["extra_vars"]) == {**policy, "workspace_audit_output_dir": "/var/lib/drift/{{ awx_job_id }}"}
    assert not named(server, "job_templates", "Molecule AI sync")["allow_simultaneous"]
    assert sorted(item["playbook"] for item in server.objects["job_templates"].values()) == sorted(PLAYBOOKS)
    nightly = named(server, "schedules", "Molecule AI nightly audit")
    assert nightly["unified_job_template"] == audit["id"] and "FREQ=DAILY" in nightly["rrule"] and nightly["enabled"]
    assert named(server, "instance_groups", "Jobs")["max_concurrent_jobs"] == 4
    assert linked(server, "workflow_job_templates", "Molecule AI repair drift", "notification_templates_approvals") == ["Channel"]
    assert linked(server, "job_templates", "Molecule AI audit", "notification_templates_error") == ["Channel"]
    assert linked(server, "job_templates", "Molecule AI sync", "credentials") == ["Molecule AI fleet"]
    assert linked(server, "job_templates", "Molecule AI sync", "instance_groups") == ["Jobs"]
    survey = server.surveys[named(server, "job_templates", "Molecule AI install")["id"]]
    assert survey["spec"][0]["choices"] == ["careful-bash", "ecc"]
    # extra variables beat the inventory: a survey that asks for what steers a role would take it from every inventory, by its default
    asked = {item["playbook"]: {question["variable"] for question in server.surveys[item["id"]]["spec"]} for item in server.objects["job_templates"].values()}
    assert not set().union(*asked.values()) & {option for role in ("backend", "plugins", "restart") for option in options_of(role)}
    for playbook, names in asked.items():
        rollout = {"workspace_canary", "workspace_serial", "workspace_max_fail_percentage", "workspace_restart_method"}
        assert rollout <= names if playbook != "audit.yml" else not rollout & names, playbook
    ways = {
        name: {way: linked(server, "workflow_job_template_nodes", name, f"{way}_nodes") for way in ("success", "failure", "always")}
        for name in ("audit", "approve", "sync")
    }
    assert ways == {
        "audit": {"success": [], "failure": ["approve"], "always": []}, "approve": {"success": ["sync"], "failure": [], "always": []},
        "sync": {"success": [], "failure": [], "always": ["audit again"]},
    }  # fmt: skip
    node = named(server, "workflow_job_template_nodes", "approve")
    assert node["unified_job_template"] in server.objects["workflow_approval_templates"]

    before = copy.deepcopy(server.objects)
    again = setup(variables)
    assert again.returncode == 0 and again.counts["changed"] == 0, again.output
    assert server.objects == before

    # check mode of a change says exactly what the run then changes
    part = {**variables, "awx_setup_objects": str(only(tmp_path / "part", "execution_environments", "schedules"))}
    more = {**part, "awx_setup_ee_pull": "always", "awx_setup_schedule_enabled": False}
    writes = len(server.writes)
    check = setup(more, "--check")
    assert len(server.writes) == writes
    assert check.changed() == setup(more).changed() == ["Molecule AI workspaces", "Molecule AI nightly audit"], check.output

    # a survey with a default that is no choice
    surveys = only(tmp_path / "refused", "job_templates") / "surveys.yml"
    surveys.write_text(surveys.read_text(encoding="utf-8").replace("default: inventory", "default: sometimes"), encoding="utf-8")
    refused = setup({**variables, "awx_setup_objects": str(surveys.parent)})
    assert refused.returncode == 2 and "Default choice must be answered from the choices listed" in refused.output, refused.output
    assert server.surveys[named(server, "job_templates", "Molecule AI install")["id"]] == survey


def test_arguments_are_checked_first(awx: tuple[str, AWX], setup: Setup) -> None:
    incomplete = setup({name: value for name, value in VARIABLES.items() if name != "awx_setup_ee_image"})
    assert "missing required arguments: awx_setup_ee_image" in incomplete.output and not awx[1].writes


def test_the_execution_environment_can_be_built(tarball: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """``ansible-builder create`` takes the definition, with the collection's tarball where it is looked for, and finds all requirements in it."""
    definition = tmp_path / "awx" / "execution-environment"
    shutil.copytree(REPOSITORY / "awx" / "execution-environment", definition)
    (tmp_path / "build").mkdir()
    shutil.copy(tarball, tmp_path / "build")
    program = pathlib.Path(sys.executable).with_name("ansible-builder")
    completed = subprocess.run(
        [str(program), "create", "-f", str(definition / "execution-environment.yml"), "-c", str(tmp_path / "context"), "--output-filename", "Containerfile"],
        capture_output=True, text=True, check=False, timeout=120, cwd=definition,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout + completed.stderr
    context = tmp_path / "context"
    assert (context / "_build" / "collections" / tarball.name).is_file()
    collections = yaml.safe_load((context / "_build" / "requirements.yml").read_text(encoding="utf-8"))["collections"]
    assert collections[0] == {"name": f"collections/{tarball.name}", "type": "file"}
    pinned = [line for line in (context / "_build" / "requirements.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert pinned and all("==" in line for line in pinned)
    assert "ansible-core==" in (context / "Containerfile").read_text(encoding="utf-8")
