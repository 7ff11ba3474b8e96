# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures for every kind of test: the collection as its users get it."""
from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
# ansible-test imports a test by its name in the collection; what lies beside it is found as without ansible-test.
for directory in ("tests", "tests/unit", "tests/unit/plugins/module_utils", "tests/unit/plugins/plugin_utils", "tests/unit/plugins/action"):
    if str(REPOSITORY / directory) not in sys.path:
        sys.path.append(str(REPOSITORY / directory))

from programs import run_program

DEPENDENCIES = REPOSITORY / ".cache" / "collections" / "ansible_collections" / "community"


@pytest.fixture(scope="session")
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
    run_program("ansible-galaxy", "collection", "build", "--output-path", str(target), str(source))
    (built,) = target.glob("molecule_ai-workspace-*.tar.gz")
    return built


@pytest.fixture(scope="session")
def installed(tarball: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a controller whose only collections are ours and its dependencies."""
    path = tmp_path_factory.mktemp("collections")
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(path), "ANSIBLE_HOME": str(tmp_path_factory.mktemp("home"))}
    run_program("ansible-galaxy", "collection", "install", "--no-deps", "--offline", str(tarball), **environment)
    assert (path / "ansible_collections" / "molecule_ai" / "workspace" / "MANIFEST.json").is_file()
    (path / "ansible_collections" / "community").symlink_to(DEPENDENCIES)
    return environment
