# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook ``awx_setup`` with the real modules of awx.awx."""
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from awx_server import TOKEN

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class Result:
    """A finished run: exit status, output, and the counts of its only host."""

    def __init__(self, completed: subprocess.CompletedProcess[str]) -> None:
        self.returncode = completed.returncode
        self.output = completed.stdout + completed.stderr
        recap = re.search(r"localhost\s+:(.*)", self.output)
        self.counts = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", recap[1])} if recap else {}

    def changed(self) -> list[str]:
        """The names of the objects that are reported as changed, in order; with what is censored, and with their kind where check mode only predicts them."""
        return re.findall(r"^changed: \[localhost\] => \(item=(.*?)\)", self.output, re.MULTILINE)


Setup = Callable[..., Result]


def run_setup(host: str, home: pathlib.Path, variables: dict[str, Any], *arguments: str) -> Result:
    """Run it with variables, and any arguments of ``ansible-playbook``."""
    environment = {
        **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache" / "collections"), "ANSIBLE_HOME": str(home), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1", "ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "CONTROLLER_HOST": host, "CONTROLLER_OAUTH_TOKEN": TOKEN, "CONTROLLER_REQUEST_TIMEOUT": "60",
    }  # fmt: skip
    program = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "molecule_ai.workspace.awx_setup", "--extra-vars", json.dumps(variables), *arguments]
    return Result(subprocess.run(command, env=environment, cwd=home.parent, capture_output=True, text=True, timeout=500, check=False))
