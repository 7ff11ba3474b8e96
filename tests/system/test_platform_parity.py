# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the platform's own tests pin for plugin installs on both backends, each shown here on real workspaces.

One test (or pair) per behaviour, named after it: dispatch to EIC with the right instance, runtime, plugin and the whole tree; an EIC failure
without raw ssh text; no backend; a failed lookup; the same for uninstall; quoting of paths; the plugin path by runtime; a tar.gz round trip;
a missing manifest, and an unreachable workspace, at uninstall.
"""
from __future__ import annotations

import pathlib
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from ansible_run import Run
from expected import expected_items, wanted
from lab.api import Lab
from workspaces import both_tiers

pytestmark = pytest.mark.usefixtures("no_faults")

INSTALL = "molecule_ai.workspace.install"
REMOVE = "molecule_ai.workspace.remove"
PLUGIN = "ecc"


@pytest.fixture(params=["install", "uninstall"])
def job(request: pytest.FixtureRequest, plugin_sources: pathlib.Path) -> tuple[str, dict[str, Any]]:
    """The playbook and variables of an install and of an uninstall."""
    if request.param == "install":
        return INSTALL, {"workspace_plugins": wanted(plugin_sources, PLUGIN)}
    return REMOVE, {"workspace_plugin_names": [PLUGIN]}


def failures(run: Run) -> list[str]:
    """The messages of failed and unreachable results."""
    return [record["result"]["msg"] for record in run.records if record["status"] in ("failed", "unreachable")]


@pytest.mark.parametrize(
    ("workspace", "plugin_path"),
    [("eic-claude", "/configs/plugins"), ("eic-hermes", "/home/ubuntu/.hermes/plugins"), ("eic-langgraph", "/opt/configs/plugins")],
    indirect=["workspace"],
)
def test_install_dispatches_to_eic_with_instance_runtime_and_whole_tree(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_path: str, plugin_sources: pathlib.Path, fresh_connections: None
) -> None:
    instance = lab.world.instance_of(lab.world.workspace(workspace))["instance_id"]
    before = lab.counters()["by_id"].get(instance, {}).get("tunnels", 0)
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": wanted(plugin_sources, PLUGIN)}).ok()
    assert lab.counters()["by_id"][instance]["tunnels"] == before + 1
    assert lab.exec(workspace, "test", "-d", f"{plugin_path}/{PLUGIN}").status == 0
    assert lab.snapshot(workspace, f"plugins/{PLUGIN}") == expected_items(plugin_sources / PLUGIN)


def test_eic_failure_surfaces_without_raw_ssh_text(lab: Lab, ansible: Callable[..., Run], job: tuple[str, dict[str, Any]], fresh_connections: None) -> None:
    playbook, variables = job
    lab.fault("deny_push")
    run = ansible(playbook, limit="eic-claude", variables=variables)
    assert run.stats["eic-claude"]["unreachable"] == 1
    (message,) = failures(run)
    assert "ec2-instance-connect:SendSSHPublicKey" in message and "\n" not in message
    assert "ssh:" not in message and "port 65535" not in message


def test_no_backend_is_an_error_with_its_reason(ansible: Callable[..., Run], job: tuple[str, dict[str, Any]]) -> None:
    playbook, variables = job
    run = ansible(playbook, limit="stopped", variables=variables)
    assert run.stats["stopped"]["failures"] == 1
    (message,) = failures(run)
    assert "not running" in message or "created" in message, message


def test_lookup_error_is_told_apart_from_no_backend(ansible: Callable[..., Run], job: tuple[str, dict[str, Any]]) -> None:
    playbook, variables = job
    run = ansible(playbook, limit="alpha", variables={**variables, "workspace_docker_host": "unix:///nonexistent/docker.sock"})
    assert run.stats["alpha"]["failures"] == 1
    (message,) = failures(run)
    assert "/nonexistent/docker.sock" in message and "\n" not in message


def test_external_gets_the_download_hint_and_is_skipped(lab: Lab, ansible: Callable[..., Run], job: tuple[str, dict[str, Any]]) -> None:
    playbook, variables = job
    run = ansible(playbook, limit="outside", variables=variables).ok()
    assert run.stats["outside"]["changed"] == 0
    assert f"/workspaces/{lab.world.workspace('outside')['id']}/plugins/" in run.output
    failing = ansible(playbook, limit="outside", variables={**variables, "backend_external": "fail"})
    assert failing.stats["outside"]["failures"] == 1


@both_tiers
def test_paths_that_a_shell_would_read_otherwise_are_refused(
    lab: Lab, ansible: Callable[..., Run], workspace: str, job: tuple[str, dict[str, Any]]
) -> None:
    playbook, variables = job
    before = lab.snapshot(workspace)
    for odd in ["it's; a b", "$(touch /configs/owned)"]:  # the complete list is the unit test's
        run = ansible(playbook, limit=workspace, variables={**variables, "workspace_config_dir": f"{lab.config_dir(workspace)}/{odd}"})
        (message,) = failures(run)
        assert "config dir" in message and "\n" not in message and run.stats[workspace]["unreachable"] == 0
    assert lab.snapshot(workspace) == before


@both_tiers
def test_odd_paths_on_the_controller_are_only_paths(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    source = pathlib.Path(shutil.copytree(plugin_sources / PLUGIN, tmp_path / "it's; a \"dir\" & $(id) ünïcode" / PLUGIN))
    (source / "rules" / "a b 'c' $(id) ü.md").write_text("An oddly named rule.\n")
    (source / "rules" / "a b 'c' $(id) ü.md").chmod(0o644)
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": [{"name": PLUGIN, "source": str(source)}]}).ok()
    assert lab.snapshot(workspace, f"plugins/{PLUGIN}") == expected_items(source)
    ansible(REMOVE, limit=workspace, variables={"workspace_plugin_names": [PLUGIN]}).ok()
    assert b"oddly named" not in (lab.read_file(workspace, "CLAUDE.md") or b"")


@both_tiers
@pytest.mark.parametrize("top_level", [".", "molecule-ai-plugin-ecc-1.0.0"])
def test_tar_gz_round_trip(
    lab: Lab, ansible: Callable[..., Run], workspace: str, top_level: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    archive = tmp_path / "ecc.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(plugin_sources / PLUGIN, arcname=top_level)
    ansible(INSTALL, limit=workspace, variables={"workspace_plugins": [{"name": PLUGIN, "source": str(archive)}], "restart_method": "none"}).ok()
    assert lab.snapshot(workspace, f"plugins/{PLUGIN}") == expected_items(plugin_sources / PLUGIN)


@both_tiers
def test_a_missing_manifest_is_no_error_at_uninstall(lab: Lab, ansible: Callable[..., Run], workspace: str) -> None:
    lab.write_file(workspace, "plugins/no-manifest/rules/rule.md", "A rule\n")
    run = ansible(REMOVE, limit=workspace, variables={"workspace_plugin_names": ["no-manifest"], "restart_method": "none"}).ok()
    assert run.result("molecule_plugin", workspace)["plugins"][0]["action"] == "removed"
    assert lab.snapshot(workspace, "plugins/no-manifest") == {}


def test_an_unreachable_workspace_is_an_error_at_uninstall(lab: Lab, ansible: Callable[..., Run], fresh_connections: None) -> None:
    lab.fault("target_unreachable")
    run = ansible(REMOVE, limit="eic-claude", variables={"workspace_plugin_names": [PLUGIN]})
    assert run.returncode != 0 and run.stats["eic-claude"]["unreachable"] == 1


def test_sources_of_every_kind_install_the_same_tree(
    lab: Lab, ansible: Callable[..., Run], workspace: str, plugin_sources: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A registry name, a git tag and a full commit, the latter as the platform's ``github://`` form from a mirror."""
    mirror = tmp_path / "Molecule-AI" / "molecule-ai-plugin-ecc"
    shutil.copytree(plugin_sources / PLUGIN, mirror)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], [*identity, "commit", "-q", "-m", "one"], [*identity, "tag", "-a", "v1", "-m", "v1"]):
        subprocess.run(["git", "-C", str(mirror), *arguments], check=True)
    commit = subprocess.run(["git", "-C", str(mirror), "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "Molecule-AI" / "molecule-ai-plugin-ecc.git").symlink_to(mirror)
    settings = {"restart_method": "none", "plugins_registry": str(plugin_sources), "plugins_github_url": f"file://{tmp_path}"}
    sources = [f"local://{PLUGIN}", PLUGIN, f"git+file://{mirror}#v1", f"git+file://{mirror}#{commit}", f"github://Molecule-AI/molecule-ai-plugin-ecc#{commit}"]
    digests = set()
    for source in sources:
        run = ansible(INSTALL, limit=workspace, variables={**settings, "workspace_plugins": [{"name": PLUGIN, "source": source}]}).ok()
        digests.add(run.result("molecule_plugin", workspace)["plugins"][0]["digest"])
        assert run.result("molecule_plugin", workspace)["changed"] is (source == sources[0]), source
    assert len(digests) == 1
    assert lab.snapshot(workspace, f"plugins/{PLUGIN}") == expected_items(plugin_sources / PLUGIN)
