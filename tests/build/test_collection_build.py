"""The tarball that users install: it holds the product and nothing else, and works from an empty collections path."""
from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DEPENDENCIES = REPOSITORY / ".cache" / "collections" / "ansible_collections" / "community"
BIN = pathlib.Path(sys.executable).parent
PRODUCT_ROOTS = {
    "CHANGELOG.md", "FILES.json", "LICENSE", "LICENSES", "MANIFEST.json", "README.md", "bindep.txt",
    "changelogs", "docs", "meta", "playbooks", "plugins", "requirements.txt", "roles",
}
PLUGINS = {
    "module": ["molecule_plugin", "workspace_backend_facts", "workspace_restart"],
    "connection": ["eic"],
    "role": ["backend", "plugins", "restart"],
}
PLAYBOOKS = ["audit", "install", "remove", "restart", "sync"]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the venv's programs and fail with what it printed."""
    completed = subprocess.run(
        [str(BIN / command[0]), *command[1:]], env={**os.environ, **environment}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert completed.returncode == 0, f"{' '.join(command)}\n{completed.stdout}\n{completed.stderr}"
    return completed


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The collection, built from the files that git tracks (a build takes what lies in the tree)."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, files):
        if (REPOSITORY / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, source / name)
    target = tmp_path_factory.mktemp("tarball")
    run("ansible-galaxy", "collection", "build", "--output-path", str(target), str(source))
    (built,) = target.glob("molecule_ai-workspace-*.tar.gz")
    return built


@pytest.fixture(scope="module")
def installed(tarball: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a controller whose only collections are ours and its dependencies."""
    path = tmp_path_factory.mktemp("collections")
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(path), "ANSIBLE_HOME": str(tmp_path_factory.mktemp("home"))}
    run("ansible-galaxy", "collection", "install", "--no-deps", "--offline", str(tarball), **environment)
    assert (path / "ansible_collections" / "molecule_ai" / "workspace" / "MANIFEST.json").is_file()
    (path / "ansible_collections" / "community").symlink_to(DEPENDENCIES)
    return environment


def test_tarball_holds_nothing_but_the_product(tarball: pathlib.Path) -> None:
    with tarfile.open(tarball) as archive:
        names = [member.name for member in archive.getmembers()]
    assert {name.split("/")[0] for name in names} <= PRODUCT_ROOTS
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name or "/tests" in name]
    assert "plugins/connection/eic.py" in names
    assert "plugins/module_utils/plugin_store.py" in names
    # an execution environment takes its packages from these
    assert {"meta/execution-environment.yml", "requirements.txt", "bindep.txt"} <= set(names)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in PLUGINS.items() for name in names])
def test_documentation_of_every_plugin_and_role(installed: dict[str, str], kind: str, name: str) -> None:
    documented = json.loads(run("ansible-doc", "--json", "--type", kind, f"molecule_ai.workspace.{name}", **installed).stdout)
    assert f"molecule_ai.workspace.{name}" in documented


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbooks_run_by_their_full_name(installed: dict[str, str], playbook: str) -> None:
    run("ansible-playbook", "--syntax-check", "-i", "workspace-1,", f"molecule_ai.workspace.{playbook}", **installed)
