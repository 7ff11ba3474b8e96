# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's inventory, as an operator would write it by hand: ids and a few facts per workspace; tier and connection are left to be found."""
from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import yaml

from .paths import REPOSITORY

if TYPE_CHECKING:
    from .api import Lab

# What an operator knows of a workspace differs, so the lookups have something to find: these are left out of the inventory.
_FOUND_BY_TAG = {"eic-hermes": ("workspace_instance_id",), "eic-langgraph": ("workspace_instance_id", "workspace_runtime")}


def write(lab: Lab) -> None:
    """Write the inventory and the environment file of a running lab."""
    lab.paths.inventory.write_text("# Written by the lab; the next `up` overwrites it.\n" + yaml.safe_dump(build(lab), sort_keys=False), encoding="utf-8")
    descriptor = os.open(lab.paths.environment, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write("# The lab's environment for a shell: . .lab/environment\nunset AWS_PROFILE AWS_SESSION_TOKEN\n")
        stream.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in environment(lab).items())


def build(lab: Lab) -> dict[str, Any]:
    """The inventory as data: group ``workspaces`` with the children ``lab_docker``, ``lab_eic`` (both can be pushed to) and ``lab_other``."""
    groups: dict[str, dict[str, Any]] = {"lab_docker": {}, "lab_eic": {}, "lab_other": {}}
    for workspace in lab.world.data["workspaces"]:
        variables = {"workspace_id": workspace["id"], "workspace_runtime": workspace["runtime"]}
        if workspace["instance_id"]:
            variables["workspace_instance_id"] = workspace["instance_id"]
        if workspace["unit"]:
            variables["workspace_unit"] = workspace["unit"]
        for found in _FOUND_BY_TAG.get(workspace["name"], ()):
            variables.pop(found, None)
        pushable = workspace["kind"] in ("docker", "eic") and not workspace["stopped"]
        groups[f"lab_{workspace['kind']}" if pushable else "lab_other"][workspace["name"]] = variables
    return {"workspaces": {
        "vars": _variables(lab),
        "children": {group: {"hosts": hosts} for group, hosts in groups.items()},
    }}


def environment(lab: Lab) -> dict[str, str]:
    """The environment variables with which Ansible works on the lab; none of the user's own AWS configuration is used."""
    world, service = lab.world.data, lab.service
    no_proxy = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", "127.0.0.1", "localhost", ".amazonaws.com"]
    values = {
        "ANSIBLE_INVENTORY": str(lab.paths.inventory),
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache" / "collections"),
        "ANSIBLE_HOME": str(lab.paths.state / "ansible"),
        "AWS_ACCESS_KEY_ID": world["credentials"]["access_key"],
        "AWS_SECRET_ACCESS_KEY": world["credentials"]["secret_key"],
        "AWS_REGION": world["region"],
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DOCKER_HOST": world["docker_host"],
        "NO_PROXY": ",".join(dict.fromkeys(filter(None, ",".join(no_proxy).split(",")))),
        "PATH": f"{REPOSITORY / '.cache' / 'venv' / 'bin'}:{os.environ['PATH']}",
    }
    values["no_proxy"] = values["NO_PROXY"]
    if service:
        values["AWS_CA_BUNDLE"] = service["ca_file"]
    return values


def _variables(lab: Lab) -> dict[str, Any]:
    """What all workspaces of the lab have in common: where its engine and its simulated AWS are."""
    variables = {
        "workspace_docker_host": lab.world.data["docker_host"],
        "workspace_region": lab.world.data["region"],
        "ansible_eic_known_hosts_file": str(lab.paths.known_hosts),
        "ansible_eic_state_directory": str(lab.paths.state / "eic"),
    }
    if lab.service:
        variables |= {
            "workspace_ec2_endpoint_url": lab.service["aws_url"],
            "workspace_aws_ca_bundle": lab.service["ca_file"],
            "ansible_eic_ec2_endpoint_url": lab.service["aws_url"],
            "ansible_eic_instance_connect_endpoint_url": lab.service["aws_url"],
            "ansible_eic_tunnel_address": lab.service["tunnel_address"],
            "ansible_eic_ca_bundle": lab.service["ca_file"],
        }
    return variables
