# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An audit of a fleet in which everything is the matter at once: what it says, in which form, with which status, and that it touches nothing."""
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from ansible_run import COLLECTIONS, REPOSITORY, Run
from ara.setup import callback_plugins as ara_callbacks
from expected import wanted
from lab.api import Lab

AUDIT = "molecule_ai.workspace.audit"
INSTALL = "molecule_ai.workspace.install"
COMMAND = COLLECTIONS / "ansible_collections" / "molecule_ai" / "workspace" / "playbooks" / "files" / "molecule-audit"
SCHEMA = json.loads((REPOSITORY / "docs" / "drift-1.schema.json").read_text(encoding="utf-8"))
PUSHED = ["alpha", "beta", "eic-claude", "eic-hermes"]
HOSTILE = "</script><script>window.pwned=1</script>"

# Everything but the time of the last reading, which reading changes.
METADATA = """
import hashlib, json, os, sys
found = {}
for directory, directories, files in (entry for root in sys.argv[1:] for entry in os.walk(root)):
    for name in [""] + files + [name for name in directories if os.path.islink(os.path.join(directory, name))]:
        path = os.path.join(directory, name) if name else directory
        status = os.lstat(path)
        content = hashlib.sha256(open(path, "rb").read()).hexdigest() if name and not os.path.islink(path) else ""
        attributes = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in os.listxattr(path, follow_symlinks=False)}
        found[path] = [status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
                       content, attributes]
print(json.dumps(found))
"""
HOMES = ["/root", "/home"]
# Where a module unpacks itself for a moment, so of these directories themselves, and of nothing in them, size and times may change.
TEMPORARY = ["/tmp", "/var/tmp", "/dev/shm"]


def metadata(lab: Lab, workspace: str) -> dict[str, list[Any]]:
    """Inode, mode, owner, links, size, times, bytes and extended attributes of everything in the config directory, in homes and in temporary directories."""
    outcome = lab.exec(workspace, "python3", "-c", METADATA, lab.config_dir(workspace), *HOMES, *TEMPORARY)
    assert outcome.status == 0, outcome.stderr
    found: dict[str, list[Any]] = json.loads(outcome.stdout)
    assert found.keys() > {lab.config_dir(workspace), "/root", "/tmp"}
    for directory in set(TEMPORARY) & found.keys():
        found[directory][5:8] = []
    return found


def report_in(directory: pathlib.Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((directory / "drift.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(report)
    return report


def command(*arguments: str | pathlib.Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, str(COMMAND), *map(str, arguments)], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": path, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), **environment},
    )  # fmt: skip


@pytest.fixture
def fleet(lab: Lab, ansible: Callable[..., Run], plugin_sources: pathlib.Path, no_faults: None) -> dict[str, Any]:
    """Variables of an audit of: alpha in sync, beta in disorder, eic-claude waiting for a restart, eic-hermes with a changed placement."""
    plugins = [{**plugin, "any_runtime": True} for plugin in wanted(plugin_sources, "careful-bash", "ecc")]
    variables = {"workspace_plugins": [*plugins, {"name": "old-plugin", "state": "absent"}]}
    for name in PUSHED:
        lab.reset(name)
    ansible(INSTALL, limit=",".join(PUSHED), variables=variables).ok()
    upgraded = {**variables, "workspace_plugins": wanted(plugin_sources, "superpowers")}
    ansible(INSTALL, limit="eic-claude", variables={**upgraded, "restart_method": "none"}).ok()
    live = "plugins/careful-bash"
    lab.write_file("beta", f"{live}/rules/careful-bash.md", f"tampered\n{HOSTILE}\n")
    lab.write_file("beta", f"{live}/rules/{HOSTILE.replace('/', '|')}\n", "planted\n")
    lab.remove("beta", f"{live}/commands/careful.md")
    root = lab.config_dir("beta")
    assert lab.exec("beta", "chmod", "0600", f"{root}/{live}/plugin.yaml").status == 0
    assert lab.exec("beta", "chown", "0:0", f"{root}/{live}/plugin.yaml").status == 0
    lab.remove("beta", "plugins/ecc")
    lab.write_file("beta", "plugins/old-plugin/plugin.yaml", "name: old-plugin\nversion: 0.1.0\n")
    lab.write_file("beta", "plugins/stray/plugin.yaml", "name: stray\n")
    placed = next(path for path, item in lab.snapshot("eic-hermes", "skills").items() if item.type == "file")
    lab.write_file("eic-hermes", f"skills/{placed}", "changed by a person\n")
    return variables


def test_an_audit_of_everything_at_once(lab: Lab, ansible: Callable[..., Run], fleet: dict[str, Any], tmp_path: pathlib.Path) -> None:
    names = [*PUSHED, "outside", "stopped", "unknown"]
    output, junit = tmp_path / "report", tmp_path / "junit"
    environment = {
        "ANSIBLE_CALLBACKS_ENABLED": "record,molecule_ai.workspace.drift,ansible.builtin.junit", "JUNIT_OUTPUT_DIR": str(junit),
        "ANSIBLE_SHOW_CUSTOM_STATS": "true", "MOLECULE_AI_DRIFT_PROGRESS_INTERVAL": "0",
    }
    before = {name: metadata(lab, name) for name in PUSHED}
    starts = {name: len(lab.starts(name)) for name in PUSHED}
    variables = {**fleet, "workspace_audit_output_dir": str(output), "awx_job_id": 4711, "awx_job_template_name": "nightly"}
    run = ansible(AUDIT, limit=",".join(names), variables=variables, environment=environment)
    # not even the times of directories
    assert {name: metadata(lab, name) for name in PUSHED} == before
    assert {name: len(lab.starts(name)) for name in PUSHED} == starts

    report = report_in(output)
    states = {record["host"]: record["state"] for record in report["workspaces"]}
    assert states == {
        "alpha": "in_sync", "beta": "drift", "eic-claude": "drift", "eic-hermes": "drift", "outside": "external", "stopped": "none", "unknown": "unknown"}
    beta, claude, hermes = (next(record for record in report["workspaces"] if record["host"] == name) for name in ("beta", "eic-claude", "eic-hermes"))
    assert {plugin["name"]: plugin["state"] for plugin in beta["plugins"]} == {
        "careful-bash": "modified", "ecc": "missing", "old-plugin": "extra", "stray": "unmanaged"}
    kinds = {(entry["kind"], entry["path"]) for plugin in beta["plugins"] if plugin["name"] == "careful-bash" for entry in plugin["drift"]}
    assert {("modified", "rules/careful-bash.md"), ("missing", "commands/careful.md"), ("mode", "plugin.yaml"), ("owner", "plugin.yaml")} < kinds
    assert ("extra", f"rules/{HOSTILE.replace('/', '|')}\\n") in kinds
    assert {plugin["name"]: plugin["state"] for plugin in claude["plugins"]} == {
        "careful-bash": "in_sync", "ecc": "in_sync", "old-plugin": "in_sync", "superpowers": "unmanaged"}
    assert report["totals"]["restart_pending"] == 1
    assert {entry["kind"] for plugin in hermes["plugins"] for entry in plugin["drift"]} == {"placement"}
    assert report["totals"]["versions"]["ecc"].keys() == {wanted_version(report, "ecc")} and sum(report["totals"]["versions"]["ecc"].values()) == 3
    assert report["runs"][0]["job"] == {"id": "4711", "template": "nightly"}
    assert all(record["diffs"] == [] for record in report["workspaces"])  # nobody asked for them

    suites = ElementTree.parse(output / "drift.xml").getroot()
    assert {key: suites.get(key) for key in ("failures", "errors", "skipped")} == {"failures": "6", "errors": "2", "skipped": "1"}
    assert HOSTILE not in (output / "drift.html").read_text(encoding="utf-8")
    assert len((output / "drift-history.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert list(junit.glob("*.xml")), "Ansible's own callback has to work beside this one"

    assert run.returncode == 2
    assert {host for host, counts in run.stats.items() if counts["failures"]} == {"stopped", "unknown"}
    assert "Audit of 7 workspaces: 1 in sync, 3 drifted, 1 unknown, 1 not there, 1 external, 1 waiting for a restart" in run.output
    assert "Audit 7/7 (100 %), 3 drifted, 2 unknown" in run.output
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", run.output), "control characters in a pipe"
    stats = json.loads(re.search(r"RUN: (\{.*\})", run.output)[1])
    assert {key: value for key, value in stats.items() if isinstance(value, int)} == {
        f"workspace_audit_{state}": count
        for state, count in {"workspaces": 7, "in_sync": 1, "drift": 3, "unknown": 1, "external": 1, "none": 1}.items()}
    assert sorted(stats["workspace_audit_drift_hosts"]) == ["beta", "eic-claude", "eic-hermes"]
    assert sorted(stats["workspace_audit_unknown_hosts"]) == ["stopped", "unknown"]

    # what a person asks for once more, with the diffs, merged with what the fleet's audit has said
    again = tmp_path / "again"
    ara = {
        "ANSIBLE_CALLBACKS_ENABLED": f"{environment['ANSIBLE_CALLBACKS_ENABLED']},ara_default", "ARA_BASE_DIR": str(tmp_path / "ara"),
        "ANSIBLE_CALLBACK_PLUGINS": f"{pathlib.Path(__file__).parent / 'callback_plugins'}:{ara_callbacks}",
    }
    second = ansible(
        AUDIT, limit="alpha,beta", diff=True, environment={**environment, **ara, "MOLECULE_AI_DRIFT_OUTPUT_DIR": str(again)},
        variables={**fleet, "workspace_audit_fail_on": "drift"},
    )
    recorded = subprocess.run(
        [str(pathlib.Path(sys.executable).with_name("ara")), "host", "list", "-f", "json"],
        env={**os.environ, **ara}, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert {host["name"]: host["failed"] for host in json.loads(recorded.stdout)} == {"alpha": 0, "beta": 1}, "ARA has to work beside it as well"
    assert second.returncode == 2 and {host for host, counts in second.stats.items() if counts["failures"]} == {"beta"}
    (diffed,) = [record for record in report_in(again)["workspaces"] if record["diffs"]]
    assert any(diff["plugin"] == "careful-bash" and "-tampered" in diff["text"].splitlines() for diff in diffed["diffs"])
    merged = command("merge", output / "drift.json", again / "drift.json", "--output-dir", tmp_path / "merged", "--fail-on", "unknown,none")
    assert merged.returncode == 4, merged.stderr
    together = report_in(tmp_path / "merged")
    assert together["totals"] == report["totals"] and {conflict["host"] for conflict in together["conflicts"]} == {"alpha", "beta"}
    assert next(record for record in together["workspaces"] if record["host"] == "beta") == diffed
    assert command("status", output / "drift.json").returncode == 6


def wanted_version(report: dict[str, Any], plugin: str) -> str:
    (version,) = {item["version"] for record in report["workspaces"] for item in record["plugins"] if item["name"] == plugin and item["version"]}
    return str(version)


def test_the_command_runs_an_audit_and_tells_in_sync_drift_and_unknown_apart(
    lab: Lab, ansible: Callable[..., Run], plugin_sources: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    lab.reset("alpha")
    variables = tmp_path / "variables.json"

    def audit(limit: str, *plugins: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        variables.write_text(json.dumps({"workspace_plugins": wanted(plugin_sources, *plugins)}))
        return command("run", "-i", lab.inventory, "--limit", limit, "--extra-vars", f"@{variables}", *more, **lab.environment())

    assert audit("alpha").returncode == 0
    drifted = audit("alpha", "ecc")
    assert drifted.returncode == 2, drifted.stdout
    assert audit("stopped").returncode == 4
    assert audit("alpha,stopped", "ecc").returncode == 6
    assert audit("nobody-is-called-so").returncode == 1

    # what could be looked at is in sync, and nobody knows what else there is
    fleet = tmp_path / "fleet.workspaces.yml"
    fleet.write_text("{plugin: molecule_ai.workspace.workspaces, on_error: mark, sources: [{type: docker, docker_host: 'unix:///nonexistent.sock'}]}")
    incomplete = audit("alpha", more=("-i", str(fleet), "--output-dir", str(tmp_path)))
    assert incomplete.returncode == 4 and "Audit of 1 workspace: 1 in sync" in incomplete.stdout, incomplete.stdout
    assert [failure["source"] for failure in report_in(tmp_path)["failures"]] == ["docker"]
