# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""molecule_plugin through the real ansible-playbook, on scratch config dirs of this machine: no lab, both halves, one host or several."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_run import Run, run_playbook

HOSTS = ("one", "two", "three")


class Project:
    """A playbook directory, some workspaces and a plugin."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plugin = self.write("plugins/ecc", {"rules/a.md": "# a\n", "hooks/h": "#!/bin/sh\n"})
        (self.plugin / "hooks/h").chmod(0o755)
        hosts: dict[str, Any] = {}
        for host in HOSTS:
            (directory / host).mkdir()
            hosts[host] = {"workspace_config_dir": str(directory / host)}
        variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_pipelining": True}
        self.inventory = directory / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}), encoding="utf-8")

    def write(self, path: str, files: dict[str, str]) -> Path:
        """Write a plugin below the playbook's directory."""
        root = self.directory / path
        for name, text in ({"plugin.yaml": f"name: {root.name}\nversion: 1.0.0\n"} | files).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    def live(self, host: str = "one", path: str = "") -> Path:
        """Return a path below a workspace's plugins."""
        return self.directory / host / "plugins" / path

    def run(
        self, hosts: str = "one", environment: dict[str, str] | None = None, verbosity: int = 0, check: bool = False, diff: bool = False, **options: Any
    ) -> Run:
        """Run one task."""
        task = {"molecule_ai.workspace.molecule_plugin": {"owner": os.getuid(), "group": os.getgid(), **options}}
        playbook = self.directory / "playbook.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": [task]}]), encoding="utf-8")
        return run_playbook(
            playbook, inventory=self.inventory, environment={"ANSIBLE_HOME": str(self.directory / "ansible"), **(environment or {})},
            verbosity=verbosity, check=check, diff=diff,
        )

    def result(self, **options: Any) -> dict[str, Any]:
        """Run one task on one workspace and return its result."""
        return self.run(**options).ok().result("molecule_plugin")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project."""
    return Project(tmp_path)


def test_a_plugins_life(project: Project) -> None:
    predicted = project.result(check=True, name="ecc", source="plugins/ecc")
    assert (predicted["changed"], predicted["plugins"][0]["action"]) == (True, "installed")
    assert not project.live().exists()

    assert project.result(name="ecc", source="plugins/ecc")["plugins"] == predicted["plugins"]
    assert project.live(path="ecc/rules/a.md").read_text(encoding="utf-8") == "# a\n"
    assert project.live(path="ecc/hooks/h").stat().st_mode & 0o777 == 0o755
    again = project.result(name="ecc", source="plugins/ecc")
    assert (again["changed"], again["transferred_bytes"], again["restart_required"]) == (False, 0, True)

    project.live(path="ecc/rules/a.md").write_text("tampered\n", encoding="utf-8")
    run = project.run(check=True, diff=True, name="ecc", source="plugins/ecc").ok()
    assert [(drift["kind"], drift["path"]) for drift in run.result("molecule_plugin")["drift"]] == [("modified", "rules/a.md"), ("restart_pending", "")]
    assert "-tampered\n+# a\n" in run.output
    assert project.live(path="ecc/rules/a.md").read_text(encoding="utf-8") == "tampered\n"
    assert project.result(name="ecc", source="plugins/ecc")["plugins"][0]["action"] == "repaired"

    (project.plugin / "rules/a.md").rename(project.plugin / "rules/b.md")
    assert project.result(name="ecc", source="plugins/ecc")["plugins"][0]["action"] == "upgraded"
    assert [path.name for path in project.live(path="ecc/rules").iterdir()] == ["b.md"]

    project.live(path="stranger").mkdir()
    assert project.result(plugins=[{"name": "ecc", "state": "absent"}], exclusive=True)["changed"] is True
    assert list(project.live().iterdir()) == []
    assert project.result(name="ecc", state="absent")["changed"] is False


def test_nothing_to_do_is_one_execution_and_a_small_change_two(project: Project) -> None:
    """Counted from what the connection says that it executes and transfers."""

    def steps(run: Run) -> tuple[int, int]:
        return run.output.count("<one> EXEC "), run.output.count("<one> PUT ")

    first = steps(project.run(verbosity=3, name="ecc", source="plugins/ecc").ok())
    second = steps(project.run(verbosity=3, name="ecc", source="plugins/ecc").ok())
    assert second == (1, 0)
    # to look and to apply; what is small travels with the request
    assert first == (2, 0)
    project.live(path="ecc/rules/a.md").write_text("tampered", encoding="utf-8")
    assert steps(project.run(verbosity=3, check=True, name="ecc", source="plugins/ecc").ok()) == (1, 0)


def test_a_git_source_is_fetched_once_for_all_workspaces(project: Project) -> None:
    repository = project.directory / "repository"
    shutil.copytree(project.plugin, repository)
    for arguments in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x"], ["tag", "v1"]):
        subprocess.run(["git", "-C", str(repository), *arguments], check=True)
    real_git = shutil.which("git")
    programs = project.directory / "programs"
    programs.mkdir()
    (programs / "git").write_text(f'#!/bin/sh\necho "$*" >> {project.directory}/git.log\nexec {real_git} "$@"\n', encoding="utf-8")
    (programs / "git").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
    run = project.run(hosts="all", environment=environment, name="ecc", source=f"git+file://{repository}#v1").ok()
    results = run.results("molecule_plugin")
    assert [result["plugins"][0]["action"] for result in results] == ["installed"] * len(HOSTS)
    assert len({result["plugins"][0]["revision"] for result in results}) == 1
    commands = (project.directory / "git.log").read_text(encoding="utf-8").splitlines()
    assert sum(" fetch " in command for command in commands) == 1
    assert not any((project.directory / "ansible" / "tmp").iterdir())


def test_an_archive_the_registry_and_a_directory_give_the_same(project: Project) -> None:
    with tarfile.open(project.directory / "ecc.tar.gz", "w:gz") as tar:
        tar.add(project.plugin, arcname="ecc-1.0.0")
    digests = set()
    for source in ("plugins/ecc", str(project.plugin), "ecc.tar.gz", "local://ecc", "ecc"):
        result = project.result(check=True, name="ecc", source=source, registry="plugins")
        digests.add(result["plugins"][0]["digest"])
    assert len(digests) == 1
    pinned = project.result(name="ecc", source="ecc.tar.gz", digest=digests.pop())
    assert pinned["plugins"][0]["action"] == "installed"


def test_a_bad_plugin_among_good_ones_touches_nothing(project: Project) -> None:
    (project.write("plugins/evil", {}) / "link").symlink_to("/etc")
    run = project.run(plugins=[{"name": "ecc", "source": "plugins/ecc"}, {"name": "evil", "source": "plugins/evil"}])
    assert run.returncode != 0
    assert "contains 'link', which is a symbolic link" in run.output
    assert "Traceback" not in run.output
    assert list((project.directory / "one").iterdir()) == []


def test_a_warning_is_shown_and_odd_names_arrive(project: Project) -> None:
    project.write("plugins/odd", {"rules/é ü.md": "# é\n", "skills/a b/SKILL.md": "x", "plugin.yaml": "name: other\n"})
    run = project.run(name="odd", source="plugins/odd").ok()
    assert "calls itself 'other'" in run.output
    assert project.live(path="odd/rules/é ü.md").read_text(encoding="utf-8") == "# é\n"
    Path(os.fsdecode(os.fsencode(project.live(path="odd")) + b"/\xff")).write_text("x", encoding="utf-8")
    audit = project.run(check=True, diff=True, name="odd", source="plugins/odd").ok().result("molecule_plugin")
    assert ("extra", "\\xff") in {(drift["kind"], drift["path"]) for drift in audit["drift"]}
    assert project.result(name="odd", source="plugins/odd")["plugins"][0]["action"] == "repaired"


def test_templates_and_the_fact_are_resolved(project: Project) -> None:
    inventory = yaml.safe_load(project.inventory.read_text(encoding="utf-8"))
    inventory["all"]["hosts"]["one"] = {
        "where": str(project.directory / "one"), "workspace_backend": {"tier": "docker", "config_dir": "{{ where }}", "runtime": "{{ 'claude' ~ '-code' }}"}
    }
    project.inventory.write_text(yaml.safe_dump(inventory), encoding="utf-8")
    project.write("plugins/ecc", {"plugin.yaml": "name: ecc\nruntimes: [claude_code]\n"})
    assert project.result(name="ecc", source="{{ playbook_dir }}/plugins/ecc")["plugins"][0]["action"] == "installed"
