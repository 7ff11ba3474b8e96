# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab consists of: a declarative list of workspaces and EC2 instances, and the file that records it.

``world.json`` is written by ``up`` and read by the simulated services and by the tests; whoever changes it does so in
:meth:`World.transaction`, so that readers see either the old or the new world. Ids are fixed, so that failures can be compared
between runs; only secrets and host keys are new with each ``up``.
"""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

from .paths import Paths

REGION = "us-east-2"
VPC_ID = "vpc-0a1b2c3d4e5f60718"
SUBNET_ID = "subnet-0a1b2c3d4e5f60718"
AVAILABILITY_ZONE = "us-east-2a"
ENDPOINT_ID = "eice-0123456789abcdef0"
# What the organisation allows on the platform: the synthetic plugins.
ALLOWED_PLUGINS = ("browser-automation", "careful-bash", "ecc", "superpowers")
ROLE_ARN = "arn:aws:iam::123456789012:role/workspace-operator"
ORG_ID = "7d0e4c1a-93b5-4f6e-8a2d-5c1b0f9e8d7c"
OS_USER = "ubuntu"

# Where the runtime's config directory lies on an EC2 host (the platform's map of May 2026).
HOST_CONFIG_DIRS = {"claude-code": "/configs", "hermes": "/home/ubuntu/.hermes", "langgraph": "/opt/configs"}

UNKNOWN_INSTANCE_ID = "i-0fffffffffffffff0"
TENANT_INSTANCE_ID = "i-0a1b2c3d4e5f60100"

# kind says what up makes of it: "docker" a container on the engine, "eic" an EC2 host with the runtime in it, "external" and "none" nothing.
# Options: read_only root, a health_check, stopped after creation; container: how the platform named it; unit: the runtime runs on the
# bare host as this systemd service, not in a container.
_SPECIFICATIONS: list[dict[str, Any]] = [
    {"name": "alpha", "id": "a1fa0000-1111-4aaa-8bbb-000000000001", "kind": "docker", "runtime": "claude-code", "container": "short"},
    {"name": "beta", "id": "be7a0000-2222-4aaa-8bbb-000000000002", "kind": "docker", "runtime": "langgraph", "container": "short", "read_only": True},
    {"name": "gamma", "id": "9a33a000-3333-4aaa-8bbb-000000000003", "kind": "docker", "runtime": "crewai", "container": "full", "health_check": True},
    {"name": "eic-claude", "id": "e1c00000-4444-4aaa-8bbb-000000000004", "kind": "eic", "runtime": "claude-code", "instance_id": "i-0a1b2c3d4e5f60001"},
    {"name": "eic-hermes", "id": "e1c00000-5555-4aaa-8bbb-000000000005", "kind": "eic", "runtime": "hermes", "instance_id": "i-0a1b2c3d4e5f60002"},
    {"name": "eic-langgraph", "id": "e1c00000-6666-4aaa-8bbb-000000000006", "kind": "eic", "runtime": "langgraph", "instance_id": "i-0a1b2c3d4e5f60003"},
    {"name": "eic-bare", "id": "e1c00000-bbbb-4aaa-8bbb-00000000000b", "kind": "eic", "runtime": "hermes", "instance_id": "i-0a1b2c3d4e5f60004",
     "unit": "hermes.service"},
    {"name": "outside", "id": "0e7e0000-7777-4aaa-8bbb-000000000007", "kind": "external", "runtime": "external"},
    {"name": "stopped", "id": "5709ed00-8888-4aaa-8bbb-000000000008", "kind": "docker", "runtime": "claude-code", "container": "short", "stopped": True},
    {"name": "unknown", "id": "0bad0000-9999-4aaa-8bbb-000000000009", "kind": "none", "runtime": "claude-code", "instance_id": UNKNOWN_INSTANCE_ID},
    {"name": "renamed", "id": "2e4a3ed0-aaaa-4aaa-8bbb-00000000000a", "kind": "docker", "runtime": "codex", "container": "mol-ws-renamed-5f3a9c",
     "instance_id": "mol-ws-renamed-5f3a9c"},
]


class World:
    """The recorded world of one lab. ``data`` is the whole of world.json, as read last."""

    def __init__(self, paths: Paths, data: dict[str, Any]) -> None:
        self.paths = paths
        self.data = data

    @classmethod
    def load(cls, state: os.PathLike[str] | str | None = None) -> World:
        """Read the world of the lab in ``state``; FileNotFoundError when that lab was never started."""
        paths = Paths.of(state)
        return cls(paths, json.loads(paths.world.read_text(encoding="utf-8")))

    def reload(self) -> World:
        """Read world.json again (another process may have replaced an instance) and return self."""
        self.data = json.loads(self.paths.world.read_text(encoding="utf-8"))
        return self

    @contextlib.contextmanager
    def transaction(self) -> Iterator[dict[str, Any]]:
        """Change the world: yields the current data under an exclusive lock; at a normal end it replaces world.json atomically."""
        with open(self.paths.world_lock, "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.reload()
            yield self.data
            self.write()

    def write(self) -> None:
        """Replace world.json atomically, readable by its owner only (it holds the lab's secrets)."""
        temporary = self.paths.world.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump(self.data, stream, indent=2)
            stream.write("\n")
        os.replace(temporary, self.paths.world)

    def workspace(self, name_or_id: str) -> dict[str, Any]:
        """The workspace with this name or id; KeyError when there is none."""
        workspaces: list[dict[str, Any]] = self.data["workspaces"]
        for workspace in workspaces:
            if name_or_id in (workspace["name"], workspace["id"]):
                return workspace
        raise KeyError(name_or_id)

    def instance(self, instance_id: str) -> dict[str, Any]:
        """The EC2 instance with this id; KeyError when there is none."""
        instances: list[dict[str, Any]] = self.data["instances"]
        for instance in instances:
            if instance["instance_id"] == instance_id:
                return instance
        raise KeyError(instance_id)

    def instance_of(self, workspace: dict[str, Any]) -> dict[str, Any] | None:
        """The instance on which ``workspace`` runs, or None when it does not run on EC2."""
        instances: list[dict[str, Any]] = self.data["instances"]
        for instance in instances:
            if workspace["kind"] == "eic" and instance["tags"].get("WorkspaceID") == workspace["id"] and instance["state"] != "terminated":
                return instance
        return None


def container_name(specification: dict[str, Any]) -> str | None:
    """The container's name on the engine, as the platform's eras formed it; None when the workspace has no container there."""
    form: str | None = specification.get("container")
    if form == "short":
        return f"ws-{specification['id'][:12]}"
    if form == "full":
        return f"ws-{specification['id']}"
    return form


def new_instance(instance_id: str, private_ip: str, workspace: dict[str, Any]) -> dict[str, Any]:
    """The record of an instance that is to be created for ``workspace``; ``host_keys`` are filled in when it is created."""
    return {
        "instance_id": instance_id,
        "state": "running",
        "private_ip": private_ip,
        "vpc_id": VPC_ID,
        "subnet_id": SUBNET_ID,
        "availability_zone": AVAILABILITY_ZONE,
        "tags": {"Name": workspace["name"], "WorkspaceID": workspace["id"], "Role": "workspace", "OrgID": workspace["org_id"], "Runtime": workspace["runtime"]},
        "host_container": f"ec2-{instance_id}",
        "runtime_container": None if workspace["unit"] else f"runtime-{instance_id}",
        "unit": workspace["unit"],
        "os_user": OS_USER,
        "config_dir": HOST_CONFIG_DIRS.get(workspace["runtime"], "/configs"),
        "config_volume": f"config-{instance_id}",
        "starts_volume": f"starts-{instance_id}",
        "host_keys": [],
    }


def build(paths: Paths, docker_host: str) -> World:
    """The world that ``up`` creates, with fresh secrets; nothing is written or started yet."""
    workspaces: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    for specification in _SPECIFICATIONS:
        kind = specification["kind"]
        workspace = {
            "id": specification["id"],
            "name": specification["name"],
            "kind": kind,
            "runtime": specification["runtime"],
            "status": "offline" if specification.get("stopped") or kind == "none" else "online",
            "org_id": ORG_ID,
            "container": container_name(specification),
            "instance_id": specification.get("instance_id"),
            "read_only": specification.get("read_only", False),
            "health_check": specification.get("health_check", False),
            "stopped": specification.get("stopped", False),
            "unit": specification.get("unit"),
            "config_volume": f"config-{specification['name']}" if kind == "docker" else None,
            "starts_volume": f"starts-{specification['name']}" if kind == "docker" else None,
        }
        workspaces.append(workspace)
        if kind == "eic":
            instances.append(new_instance(specification["instance_id"], f"10.20.0.{10 + len(instances)}", workspace))
    # A tenant's own instance: tagged like the platform tags them, and never a workspace.
    instances.append({
        "instance_id": TENANT_INSTANCE_ID, "state": "running", "private_ip": "10.20.0.200", "vpc_id": VPC_ID, "subnet_id": SUBNET_ID,
        "availability_zone": AVAILABILITY_ZONE, "tags": {"Name": "tenant", "Role": "tenant", "OrgID": ORG_ID},
        "host_container": None, "runtime_container": None, "unit": None, "os_user": OS_USER, "config_dir": None,
        "config_volume": None, "starts_volume": None, "host_keys": [],
    })
    data = {
        "specification": hashlib.sha256(repr(_SPECIFICATIONS).encode()).hexdigest(),
        "docker_host": docker_host,
        "region": REGION,
        "credentials": {"access_key": "AKIA" + secrets.token_hex(8).upper(), "secret_key": secrets.token_urlsafe(30)},
        "roles": [ROLE_ARN],
        "vpc_id": VPC_ID,
        "endpoints": [{
            "id": ENDPOINT_ID,
            "dns_name": f"{ENDPOINT_ID}.{secrets.token_hex(4)}.ec2-instance-connect-endpoint.{REGION}.amazonaws.com",
            "vpc_id": VPC_ID, "subnet_id": SUBNET_ID, "state": "create-complete",
        }],
        "instances": instances,
        "workspaces": workspaces,
        "platform": {"admin_token": secrets.token_urlsafe(24), "org_id": ORG_ID, "plugin_allowlist": list(ALLOWED_PLUGINS)},
        "key_store": str(paths.key_store),
        "engine_sockets": str(paths.engine_sockets),
    }
    return World(paths, data)
