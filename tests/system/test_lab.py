# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab itself is what it claims to be: without this, a green test against it would say little."""
from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from lab import machines
from lab.api import Lab
from lab.world import World


def plant(lab: Lab, name: str, plugin: str = "planted") -> None:
    lab.write_file(name, f"plugins/{plugin}/plugin.yaml", f"name: {plugin}\n")
    lab.write_file(name, f"plugins/{plugin}/rules/one.md", "One rule.\n")


def restart(lab: Lab, name: str) -> None:
    lab.runtime(name).restart(timeout=5)
    lab.wait_started(name)


def lab_command(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lab", "--quiet", "--state", str(lab.paths.state), *arguments]
    return subprocess.run(command, cwd=pathlib.Path(__file__).resolve().parents[1], stdout=subprocess.PIPE, check=True, timeout=60)


@pytest.mark.parametrize("name", ["alpha", "beta", "renamed", "eic-claude", "eic-hermes", "eic-langgraph", "eic-bare"])
def test_a_restart_makes_a_planted_plugin_live(lab: Lab, name: str) -> None:
    lab.reset(name)
    before = len(lab.starts(name))
    plant(lab, name)
    assert lab.loaded_names(name) == []
    restart(lab, name)
    assert lab.loaded_names(name) == ["planted"]
    assert len(lab.starts(name)) == before + 1
    placed = lab.snapshot(name)["CLAUDE.md"]
    assert (placed.mode, placed.uid, placed.gid) == (0o644, 1000, 1000)
    lab.reset(name)
    assert set(lab.snapshot(name)) == {"", "config.yaml"}


def test_the_config_directory_is_the_agents_in_a_container_and_roots_on_a_host(lab: Lab) -> None:
    assert lab.snapshot("alpha")[""].uid == 1000
    assert lab.snapshot("eic-claude")[""].uid == 0


@pytest.mark.parametrize(("name", "elsewhere"), [("eic-hermes", "/configs"), ("eic-langgraph", "/configs"), ("eic-claude", "/opt/configs")])
def test_a_host_has_only_its_own_config_directory(lab: Lab, name: str, elsewhere: str) -> None:
    assert lab.exec(name, "test", "-d", lab.config_dir(name)).status == 0
    assert lab.exec(name, "test", "-e", elsewhere).status == 1


def test_the_read_only_workspace_is_read_only(lab: Lab) -> None:
    assert b"Read-only" in lab.exec("beta", "touch", "/usr/x").stderr
    lab.exec("beta", "cp", "/bin/true", "/tmp/true")
    assert b"permission denied" in lab.exec("beta", "/tmp/true").stdout.lower() + lab.exec("beta", "/tmp/true").stderr.lower()


def test_a_plugin_can_refuse_to_start(lab: Lab) -> None:
    lab.reset("alpha")
    lab.write_file("alpha", "plugins/bad/runtime-refuses-to-start", "")
    lab.runtime("alpha").restart(timeout=5)
    lab.runtime("alpha").wait(timeout=20)
    assert lab.state("alpha") == "exited"
    assert lab.loaded("alpha") is None
    assert lab.starts("alpha")[-1]["refused_by"] == ["bad"]
    lab.reset("alpha")
    assert lab.state("alpha") == "running"


def test_a_host_sees_only_its_own_runtime_and_can_restart_it(lab: Lab) -> None:
    lab.reset("eic-hermes")
    before = len(lab.starts("eic-hermes"))
    assert lab.exec("eic-hermes", "docker", "ps", "--all", "--format", "{{.Names}}").stdout.split() == [b"molecule-workspace"]
    assert lab.exec("eic-hermes", "docker", "restart", "molecule-workspace").status == 0
    lab.wait_started("eic-hermes")
    assert len(lab.starts("eic-hermes")) == before + 1


def test_the_bare_host_restarts_its_service(lab: Lab) -> None:
    lab.reset("eic-bare")
    properties = ("systemctl", "show", "--no-pager", "--property=LoadState,ActiveState,InvocationID", "hermes.service")
    before = lab.exec("eic-bare", *properties).stdout
    assert b"LoadState=loaded\nActiveState=active\n" in before
    starts = len(lab.starts("eic-bare"))
    assert lab.exec("eic-bare", "systemctl", "restart", "--no-block", "hermes.service").status == 0
    lab.wait_started("eic-bare", more_than=starts)
    assert len(lab.starts("eic-bare")) == starts + 1
    assert lab.exec("eic-bare", *properties).stdout != before
    assert b"LoadState=not-found" in lab.exec("eic-bare", "systemctl", "show", "--property=LoadState", "other.service").stdout


def test_ssh_admits_a_pushed_key_until_it_expires(lab: Lab, tmp_path: pathlib.Path) -> None:
    instance = lab.world.instance_of(lab.world.workspace("eic-claude"))
    assert instance is not None
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("".join(f"{instance['instance_id']} {line}\n" for line in instance["host_keys"]))
    store = pathlib.Path(lab.world.data["key_store"]) / instance["instance_id"] / "ubuntu"
    ssh = [
        "ssh", "-F", "/dev/null", "-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlias={instance['instance_id']}",
        "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", str(key), "-o",
        f"ProxyCommand=docker --host {lab.world.data['docker_host']} exec -i {instance['host_container']} {' '.join(machines.SSHD_COMMAND)}",
        "ubuntu@instance", "sudo -n id -u; id -un",
    ]
    kept = store.read_text() if store.exists() else None
    try:
        for expiry, status in (("4000000000", 0), ("1", 255)):
            store.write_text(f"{expiry} {key.with_suffix('.pub').read_text()}")
            done = subprocess.run(ssh, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == status, done.stderr
            assert status or done.stdout.split() == ["0", "ubuntu"]
        assert "Permission denied (publickey)" in done.stderr
    finally:
        store.unlink() if kept is None else store.write_text(kept)


def test_a_replaced_instance_is_another_machine(lab: Lab) -> None:
    old = lab.world.reload().instance_of(lab.world.workspace("eic-langgraph"))
    assert old is not None
    plant(lab, "eic-langgraph")
    new = machines.replace_instance(lab.engine, lab.world, old["instance_id"])
    lab.wait_started("eic-langgraph")
    assert new["instance_id"] != old["instance_id"] and new["host_keys"] != old["host_keys"] and new["state"] == "running"
    recorded = World.load(lab.paths.state)
    assert recorded.instance(old["instance_id"])["state"] == "terminated"
    assert recorded.workspace("eic-langgraph")["instance_id"] == new["instance_id"]
    assert set(lab.snapshot("eic-langgraph")) == {"", "config.yaml"}


def test_a_recreated_container_keeps_its_volume(lab: Lab) -> None:
    lab.reset("alpha")
    plant(lab, "alpha")
    container = lab.runtime("alpha").id
    machines.recreate_workspace(lab.engine, lab.world, "alpha")
    lab.wait_started("alpha")
    assert lab.runtime("alpha").id != container
    assert lab.loaded_names("alpha") == ["planted"]
    lab.reset("alpha")


def test_up_leaves_a_running_lab_alone(lab: Lab) -> None:
    before = {container.id for container in lab.engine.containers.list(all=True)}
    lab_command(lab, "up")
    assert {container.id for container in lab.engine.containers.list(all=True)} == before


def test_status_as_json_names_every_workspace(lab: Lab) -> None:
    done = lab_command(lab, "status", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert set(rows) == {workspace["name"] for workspace in lab.world.data["workspaces"]}
    assert rows["stopped"]["state"] in ("created", "exited") and rows["outside"]["state"] is None
