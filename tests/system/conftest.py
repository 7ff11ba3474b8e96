# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: the running lab, the synthetic plugins, and ``ansible-playbook`` against the lab's inventory."""
from __future__ import annotations

import atexit
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:
    # Test processes side by side share nothing: each has a lab and, because sockets, keys and slots of connections lie there, a home of its own.
    user_cache = os.environ.get("XDG_CACHE_HOME") or str(pathlib.Path.home() / ".cache")
    own_home = tempfile.mkdtemp(prefix="home-", dir="/tmp")  # short, because sockets' paths are
    atexit.register(shutil.rmtree, own_home, ignore_errors=True)
    os.environ.update(XDG_CACHE_HOME=user_cache, HOME=own_home)  # the lab's image is made once for all
    if WORKER != "gw0":
        os.environ["LAB_STATE"] = str(pathlib.Path(os.environ.get("LAB_STATE") or REPOSITORY / ".lab") / WORKER)
sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from ansible_run import Run, run_playbook
from lab.api import Lab
from lab.fixtures import write_plugins
from workspaces import DOCKER_WORKSPACE

LAB_COMMAND = REPOSITORY / "tests" / "lab-command"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab; started when it does not run yet, and then stopped at the end."""
    was_up = subprocess.run([str(LAB_COMMAND), "status"], capture_output=True, check=False).returncode == 0
    subprocess.run([str(LAB_COMMAND), "up"], check=True)
    yield Lab()
    if not was_up:
        subprocess.run([str(LAB_COMMAND), "down"], check=True)


@pytest.fixture(scope="session")
def plugin_sources(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory with the synthetic plugins, one directory each."""
    directory = tmp_path_factory.mktemp("plugins")
    write_plugins(directory)
    return directory


@pytest.fixture
def ansible(lab: Lab) -> Callable[..., Run]:
    """Run a playbook (an FQCN or a path) against the lab."""

    def run(playbook: str | pathlib.Path, *arguments: str, **options: Any) -> Run:
        environment = {**lab.environment(), **options.pop("environment", {})}
        return run_playbook(playbook, *arguments, inventory=options.pop("inventory", lab.inventory), environment=environment, **options)

    return run


@pytest.fixture
def plugin_inventory(lab: Lab, tmp_path: pathlib.Path) -> pathlib.Path:
    """An inventory by the inventory plugin, in a directory of its own: the lab's engine and EC2, and how its simulated endpoint is reached."""
    directory = tmp_path / "fleet"
    (directory / "group_vars").mkdir(parents=True)
    ec2 = {"type": "ec2", "regions": [lab.world.data["region"]], "endpoint_url": lab.service["aws_url"]}
    known = [{"workspace_id": each["id"], "name": each["name"], "runtime": each["runtime"]} for each in lab.world.data["workspaces"]]
    (directory / "known.yml").write_text(yaml.safe_dump(known), encoding="utf-8")
    sources = [{"type": "file", "path": "known.yml"}, {"type": "docker"}, ec2]
    configuration = {"plugin": "molecule_ai.workspace.workspaces", "hostnames": ["workspace_name"], "sources": sources}
    (directory / "lab.workspaces.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    shared = yaml.safe_load(lab.inventory.read_text())["workspaces"]["vars"]
    reached = {name: value for name, value in shared.items() if name.startswith("ansible_eic_")}
    (directory / "group_vars" / "all.yml").write_text(yaml.safe_dump(reached), encoding="utf-8")
    return directory / "lab.workspaces.yml"


@pytest.fixture
def fresh_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No ssh master of another test is used, and none is left behind."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cp-", dir="/tmp"))  # short, because sockets' paths are
    monkeypatch.setenv("ANSIBLE_SSH_CONTROL_PATH_DIR", str(directory))
    yield
    for control_path in directory.iterdir():
        subprocess.run(["ssh", "-o", f"ControlPath={control_path}", "-O", "exit", "any"], capture_output=True, check=False)
    shutil.rmtree(directory)


@pytest.fixture
def no_faults(lab: Lab) -> Iterator[None]:
    """Start and end without faults."""
    lab.clear_faults()
    yield
    lab.clear_faults()


@pytest.fixture
def workspace(lab: Lab, request: pytest.FixtureRequest) -> str:
    """A push-tier workspace without any plugin; parametrise indirectly with its name."""
    name: str = getattr(request, "param", DOCKER_WORKSPACE)
    lab.reset(name)
    lab.clear_faults()
    return name
