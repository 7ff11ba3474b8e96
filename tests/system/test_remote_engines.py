# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker engines of other machines, found by the inventory plugin and installed on: over TLS with client certificates, and over ssh."""
from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_run import Run
from expected import expected_items, wanted
from lab.api import Lab
from remote_engines import ssh_path, tls_door

INSTALL = "molecule_ai.workspace.install"


@pytest.fixture
def socket_of_engine(lab: Lab) -> str:
    url = lab.environment()["DOCKER_HOST"]
    if not url.startswith("unix://"):
        pytest.skip("the lab's engine is reached by TCP, and a door before its socket is tried here")
    return url[len("unix://"):]


def write_inventory(lab: Lab, path: pathlib.Path, source: dict[str, Any]) -> pathlib.Path:
    """The engine by ``source``, and what no engine knows of its workspaces."""
    names = {"workspace_id": "id", "name": "name", "runtime": "runtime"}
    known = [{field: each[name] for field, name in names.items()} for each in lab.world.data["workspaces"] if each["kind"] == "docker"]
    (path / "known.yml").write_text(yaml.safe_dump(known), encoding="utf-8")
    sources = [{"type": "file", "path": "known.yml"}, {"type": "docker", "name": "rack-1", **source}]
    inventory = path / "fleet.workspaces.yml"
    inventory.write_text(yaml.safe_dump({"plugin": "molecule_ai.workspace.workspaces", "hostnames": ["workspace_name"], "sources": sources}), encoding="utf-8")
    return inventory


def install(
    lab: Lab, ansible: Callable[..., Run], inventory: pathlib.Path, workspace: str, plugin_sources: pathlib.Path, **environment: str
) -> dict[str, Any]:
    """Install over this inventory, restart included, and return how the role has reached the engine."""
    starts = len(lab.starts(workspace))
    # nothing may come from the engine's own socket
    away = {"DOCKER_HOST": "unix:///nonexistent.sock", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true", **environment}
    variables = {"workspace_plugins": wanted(plugin_sources, "ecc")}
    run = ansible(INSTALL, inventory=inventory, limit=workspace, variables=variables, environment=away).ok()
    assert lab.snapshot(workspace, "plugins/ecc") == expected_items(plugin_sources / "ecc")
    assert lab.loaded_names(workspace) == ["ecc"] and len(lab.starts(workspace)) == starts + 1
    engine: dict[str, Any] = run.result("workspace_backend_facts", workspace)["ansible_facts"]["workspace_backend"]["engine"]
    return engine


def test_over_tls(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path, socket_of_engine: str
) -> None:
    with tls_door(socket_of_engine, tmp_path) as door:
        address = {"docker_host": f"tcp://127.0.0.1:{door.port}", "validate_certs": True, "ca_path": str(door.ca)}
        # who has no certificate gets nothing, and reads why
        inventory = write_inventory(lab, tmp_path, address)
        refused = subprocess.run(
            [str(pathlib.Path(sys.executable).with_name("ansible-inventory")), "-i", str(inventory), "--list"],
            env={**lab.environment(), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert refused.returncode != 0 and "rack-1" in refused.stderr and door.admitted == 0, refused.stderr
        inventory = write_inventory(lab, tmp_path, {**address, "client_cert": str(door.certificate), "client_key": str(door.key)})
        engine = install(lab, ansible, inventory, workspace, plugin_sources)
        assert (engine["docker_host"], engine["validate_certs"], engine["client_cert"]) == (address["docker_host"], True, str(door.certificate))
        assert door.admitted > 0


def test_over_ssh(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path, socket_of_engine: str
) -> None:
    path = ssh_path(f"unix://{socket_of_engine}", tmp_path)
    inventory = write_inventory(lab, tmp_path, {"docker_host": "ssh://root@rack-1.example.com"})
    engine = install(lab, ansible, inventory, workspace, plugin_sources, PATH=path)
    assert engine["docker_host"] == "ssh://root@rack-1.example.com"
    assert "Accepted publickey for root" in (tmp_path / "sshd.log").read_text(encoding="utf-8")
