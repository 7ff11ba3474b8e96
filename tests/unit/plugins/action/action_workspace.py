# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A config dir and the action ``molecule_plugin`` on it, without a connection but with the real workspace half behind."""
from __future__ import annotations

import functools
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible_collections.molecule_ai.workspace.plugins.action.molecule_plugin import ActionModule
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request
from ansible_collections.molecule_ai.workspace.plugins.module_utils.carried_program import MARK
from ansible_collections.molecule_ai.workspace.plugins.module_utils.request_answer import answer_to

OWNER = {"owner": 0, "group": 0}


class Workspace:
    """A config dir and the action's way to it, carried on standard input or by a module; counts what goes there."""

    def __init__(self, directory: Path, pipelines: bool) -> None:
        self.directory = directory
        self.pipelines = pipelines
        self.config_dir = directory / "configs"
        self.config_dir.mkdir()
        self.operations: list[str] = []
        self.remote_tmp = "~/.ansible/tmp"
        self.temporary_directories: list[Path] = []
        self.attached: bytes | None = None
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def trips_of_a_change(self) -> list[str]:
        """What is done where something is to be sent."""
        return ["inspect", "apply"] if self.pipelines else ["inspect", "mkdir", "send", "apply", "rmdir"]

    @property
    def plugins(self) -> Path:
        return self.config_dir / "plugins"

    def run(self, check: bool = False, diff: bool = False, variables: dict[str, Any] | None = None, no_log: bool = False, **options: Any) -> dict[str, Any]:
        """Run one task; ``config_dir`` and the owner are set unless given."""
        self.operations.clear()
        arguments = {"config_dir": str(self.config_dir), **OWNER, **options}
        loader = DataLoader()
        loader.set_basedir(str(self.directory))
        task = SimpleNamespace(
            args={name: value for name, value in arguments.items() if value is not KeyError},
            check_mode=check, diff=diff, no_log=no_log, async_val=0, delegate_to=None, action="molecule_plugin", get_search_path=lambda: [str(self.directory)],
        )
        shell = SimpleNamespace(tmpdir=None, get_option={"remote_tmp": self.remote_tmp}.__getitem__, join_path=lambda *parts: "/".join(parts))
        action = ActionModule(
            task=task, connection=SimpleNamespace(_shell=shell), play_context=SimpleNamespace(remote_addr="test", remote_user="ubuntu"), loader=loader,
            templar=SimpleNamespace(template=lambda value: value), shared_loader_obj=None,
        )
        action._load_name = "molecule_plugin"  # core's plugin loader sets it
        action._is_pipelining_enabled = lambda style: self.pipelines
        action._compute_environment_string = lambda: ""
        action._execute_module = self._execute_module
        action._low_level_execute_command = self._execute_command
        action._make_tmp_path = lambda: self._make_tmp_path(shell)
        action._remove_tmp_path = lambda path: self._remove_tmp_path(shell, path)
        action._transfer_file = self._transfer_file
        action._fixup_perms2 = lambda paths, execute: None
        known = {"inventory_hostname": "test", "ansible_python_interpreter": sys.executable}
        return action.run(task_vars={**known, **(variables or {})})

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        assert module_name == "molecule_ai.workspace.molecule_plugin"
        request = module_args["_request"]
        self.operations.append(request["operation"])
        return (self.answer or self.handle)(request)

    def _execute_command(self, command: str, in_data: bytes) -> dict[str, Any]:
        stream = io.BytesIO(in_data)
        stream.read(int(stream.readline()))
        sizes = json.loads(stream.readline())["sizes"]
        request = json.loads(stream.read()[sizes[0] : sizes[0] + sizes[1]])
        self.operations.append(request["operation"])
        if self.answer is None:
            done = subprocess.run(["/bin/sh", "-c", command], input=in_data, capture_output=True, check=False)
            return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}
        self.attached = stream.getvalue()[-sizes[2] :] if sizes[2] else None
        answered = self.answer(request)
        if answered.get("unreachable"):
            raise AnsibleConnectionFailure(answered["msg"])
        if "module_stdout" in answered or "module_stderr" in answered:
            return {"rc": 1, "stdout": answered.get("module_stdout", ""), "stderr": answered.get("module_stderr", "")}
        return {"rc": 0, "stdout": MARK + json.dumps(answered), "stderr": ""}

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer as the module does."""
        attached = io.BytesIO(self.attached) if self.attached else None
        return answer_to(request, False, plugin_request.changes, functools.partial(plugin_request.handle, attached=attached))

    def _make_tmp_path(self, shell: SimpleNamespace) -> None:
        self.operations.append("mkdir")
        directory = self.directory / f"tmp-{len(self.temporary_directories)}"
        directory.mkdir()
        self.temporary_directories.append(directory)
        shell.tmpdir = str(directory)

    def _remove_tmp_path(self, shell: SimpleNamespace, path: str | None) -> None:
        if path is not None:
            self.operations.append("rmdir")
            shutil.rmtree(path)
            shell.tmpdir = None

    def _transfer_file(self, local: str, remote: str) -> None:
        self.operations.append("send")
        shutil.copyfile(local, remote)


def plugin(root: Path, **files: str) -> Path:
    """Write a plugin."""
    for path, text in ({"plugin.yaml": f"name: {root.name}\nversion: 1.0.0\n"} | files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root
