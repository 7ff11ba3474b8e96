# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the programs of the environment that the tests run in."""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from typing import Sequence

BIN = pathlib.Path(sys.executable).parent
WORKSPACE_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
"""What a workspace may have."""


def run_program(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the venv's programs and fail with what it printed."""
    completed = subprocess.run(
        [str(BIN / command[0]), *command[1:]], env={**os.environ, **environment}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert completed.returncode == 0, f"{' '.join(command)}\n{completed.stdout}\n{completed.stderr}"
    return completed


def find_python(versions: Sequence[str]) -> str | None:
    """The first of these Pythons in PATH or among pyenv's that can make virtual environments."""
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv") / "versions"
    for version in versions:
        for candidate in [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True))]:
            # pyenv puts programs into PATH that say "not found" when they are started
            if candidate and subprocess.run([candidate, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
                return candidate
    return None
