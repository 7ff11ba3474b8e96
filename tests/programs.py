# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the programs of the environment that the tests run in."""
from __future__ import annotations

import os
import pathlib
import subprocess
import sys

BIN = pathlib.Path(sys.executable).parent


def run_program(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of the venv's programs and fail with what it printed."""
    completed = subprocess.run(
        [str(BIN / command[0]), *command[1:]], env={**os.environ, **environment}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert completed.returncode == 0, f"{' '.join(command)}\n{completed.stdout}\n{completed.stderr}"
    return completed
