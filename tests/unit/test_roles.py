# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles make of variables and of hosts about which nothing is known, by ansible-playbook; nothing here reaches a workspace."""
from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ID = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"
EXTERNAL = {"workspace_id": ID, "workspace_runtime": "external"}
SAY = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} came to the end"}}


def play(directory: pathlib.Path, hosts: dict[str, dict[str, t.Any]], tasks: list[dict[str, t.Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tasks for hosts with these variables."""
    inventory, playbook = directory / "hosts.json", directory / "play.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(playbook), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache" / "collections"), "ANSIBLE_NOCOLOR": "true", "ANSIBLE_HOME": str(directory)}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120, cwd=directory)


def imported(role: str, **more: t.Any) -> dict[str, t.Any]:
    """A task that imports a role of ours, or one of its task files."""
    keywords = {keyword: more.pop(keyword) for keyword in ("vars", "ignore_errors") if keyword in more}
    return {"ansible.builtin.import_role": {"name": f"molecule_ai.workspace.{role}", **more}, **keywords}


@pytest.mark.parametrize(("answer", "exclusive"), [(False, False), ("false", False), (True, True), ("inventory", True), ("", True), (None, True)], ids=str)
def test_false_is_an_answer(tmp_path: pathlib.Path, answer: object, exclusive: bool) -> None:
    say = {"ansible.builtin.debug": {"msg": "exclusive is {{ plugins_exclusive | bool }}"}}
    tasks = [imported("plugins", tasks_from="answers"), say]
    done = play(tmp_path, {"w": {"plugins_exclusive": True}}, tasks, "-e", json.dumps({"workspace_plugins_exclusive": answer}))
    assert f"exclusive is {exclusive}" in done.stdout, done.stdout + done.stderr


def test_what_is_omitted_is_not_given(tmp_path: pathlib.Path) -> None:
    host = {**EXTERNAL, "workspace_docker_host": "{{ omit }}", "workspace_region": "{{ nothing | default(omit) }}"}
    done = play(tmp_path, {"w": host}, [imported("backend"), SAY])
    assert done.returncode == 0 and "w came to the end" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("role", ["plugins", "restart"])
def test_a_host_of_which_nothing_is_known_does_not_end_the_run_of_others(tmp_path: pathlib.Path, role: str) -> None:
    hosts = {"wrong": {"workspace_id": "not/an/id"}, "external": EXTERNAL}
    common = {"workspace_plugins": [], "workspace_lookups": [], "ansible_connection": "local"}
    done = play(tmp_path, hosts, [imported(role, vars=common, ignore_errors=True), SAY])
    assert "external came to the end" in done.stdout and "wrong came to the end" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("role", ["plugins", "restart"])
def test_nothing_is_done_where_nobody_has_looked(tmp_path: pathlib.Path, role: str) -> None:
    hosts = {"unknown": {"workspace_id": ID, f"{role}_lookup": False, "ansible_connection": "local"}, "external": EXTERNAL}
    done = play(tmp_path, hosts, [imported(role, vars={"workspace_plugins": []}), SAY])
    assert done.returncode == 2 and "external came to the end" in done.stdout and "unknown came to the end" not in done.stdout, done.stdout + done.stderr
    assert "unknown                    : ok=" in done.stdout and "failed=1" in done.stdout


def test_what_was_found_earlier_is_not_what_is_found_now(tmp_path: pathlib.Path) -> None:
    """A lookup that fails says nothing of the workspace, whatever it was before."""
    moved = {"ansible.builtin.set_fact": {"workspace_runtime": "claude-code", "workspace_config_dir": "/etc"}}
    audit = imported("plugins", tasks_from="audit", vars={"workspace_plugins": []})
    done = play(tmp_path, {"w": EXTERNAL}, [imported("backend"), moved, audit])
    assert done.returncode == 2 and "w unknown " in done.stdout and "could not be looked at" in done.stdout, done.stdout + done.stderr
