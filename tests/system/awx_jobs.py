# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook as AWX does: a private data directory with AWX's files in AWX's places, and ansible-runner.

What AWX puts where is from the source of AWX 24.6 (``tasks/jobs.py``, ``models/inventory.py``, ``models/credential.py``): the inventory is a script that
prints one slice, extra variables are marked unsafe unless the job template has them, files of credentials lie in ``env``, no machine credential means
``-u root``, and host key checking is off and colour on in every job.
"""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import stat
import tempfile
from typing import Any

import ansible_runner
import jinja2.sandbox
import yaml
from ansible_run import COLLECTIONS, REPOSITORY

PROJECT = REPOSITORY / "awx" / "project"
AWX_ENVIRONMENT = {
    "ANSIBLE_HOST_KEY_CHECKING": "False", "ANSIBLE_FORCE_COLOR": "True", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True", "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "ANSIBLE_PARAMIKO_RECORD_HOST_KEYS": "False",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Job:
    """What became of a job: ansible-runner's status, the events, and the artifacts that AWX keeps."""

    status: str
    directory: pathlib.Path
    ident: str

    @property
    def events(self) -> list[dict[str, Any]]:
        found = [json.loads(path.read_text(encoding="utf-8")) for path in (self.directory / "artifacts" / self.ident / "job_events").glob("*.json")]
        return sorted(found, key=lambda event: event["counter"])

    @property
    def stats(self) -> dict[str, Any]:
        """Counts by host and the data of ``set_stats``, of the last event."""
        data: dict[str, Any] = next(event["event_data"] for event in reversed(self.events) if event["event"] == "playbook_on_stats")
        return data

    @property
    def output(self) -> str:
        return "".join(event["stdout"] + "\n" for event in self.events)

    @property
    def everything(self) -> str:
        """All that AWX stores of what the job has said: events, output and facts. (The environment, in ``command``, it masks by itself.)"""
        artifacts = [path for path in (self.directory / "artifacts").rglob("*") if path.is_file() and path.name != "command"]
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in artifacts)


def script_data(listed: dict[str, Any], number: int = 1, count: int = 1) -> dict[str, Any]:
    """One slice of an inventory that ``ansible-inventory --list --export`` has printed, in the form in which AWX gives it to a job."""
    names = sorted(listed["_meta"]["hostvars"])[number - 1 :: count]
    data: dict[str, Any] = {"_meta": {"hostvars": {}}}
    for position, name in enumerate(names):
        variables = {"remote_host_enabled": "true", "remote_host_id": position + 1, "remote_tower_enabled": "true", "remote_tower_id": position + 1}
        data["_meta"]["hostvars"][name] = {**listed["_meta"]["hostvars"][name], **variables}
    for group, content in listed.items():
        if group != "_meta":
            data[group] = {**content, "hosts": [name for name in content.get("hosts", []) if name in names]}
    data["all"] = {**data.get("all", {}), "children": [group for group in data if group not in ("_meta", "all", "ungrouped")]}
    return data


@dataclasses.dataclass
class Template:
    """A job template with its credentials, as far as it makes a difference to a job."""

    listed: dict[str, Any]
    environment: dict[str, str]
    injectors: dict[str, dict[str, str]]
    inputs: dict[str, str]
    project: pathlib.Path = PROJECT

    def prepare(self, directory: pathlib.Path, ident: int, playbook: str, template_vars: dict[str, Any], answers: dict[str, Any], *arguments: str,
                slice_of: tuple[int, int] = (1, 1), seen_as: pathlib.Path | None = None) -> dict[str, Any]:  # fmt: skip
        """Lay ``directory`` out and return the parameters of the run. ``seen_as``: its path where the job runs, ``/runner`` in AWX's containers."""
        root = seen_as or directory
        for name in ("inventory", "env", "cp"):
            (directory / name).mkdir(parents=True, mode=0o700)
        shutil.copytree(self.project, directory / "project", ignore=shutil.ignore_patterns("inventory"))
        script = directory / "inventory" / "hosts"
        script.write_text(f"#! /usr/bin/env python3\nprint({json.dumps(script_data(self.listed, *slice_of))!r})\n", encoding="utf-8")
        script.chmod(0o700)
        meta = {"awx_job_id": ident, "tower_job_id": ident, "awx_job_template_name": playbook, "awx_job_launch_type": "manual", "awx_user_name": "operator"}
        # the template's own variables may be templates, all others may not
        lines = [f"{yaml.safe_dump({name: value})}" for name, value in template_vars.items()]
        lines += [f"!unsafe {name!r}: {unsafe(value)}\n" for name, value in {**answers, **meta}.items()]
        (directory / "env" / "extravars").write_text("".join(lines), encoding="utf-8")
        (directory / "env" / "cmdline").write_text(" ".join(["-u", "root", "--forks=5", *arguments]), encoding="utf-8")
        (directory / "env" / "settings").write_text(json.dumps({"suppress_ansible_output": True, "job_timeout": 600}), encoding="utf-8")
        environment = {**AWX_ENVIRONMENT, **self.environment, **self.inject(directory, root), "AWX_PRIVATE_DATA_DIR": str(root), "JOB_ID": str(ident),
                       "ANSIBLE_SSH_CONTROL_PATH_DIR": str(root / "cp"), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)}  # fmt: skip
        return {
            "ident": str(ident), "private_data_dir": str(directory), "playbook": playbook, "inventory": "hosts", "envvars": environment,
            "suppress_env_files": True, "fact_cache_type": "jsonfile",
        }  # fmt: skip

    def inject(self, directory: pathlib.Path, root: pathlib.Path) -> dict[str, str]:
        """The credential's files and environment, rendered as AWX renders them: inputs that are not given are undefined."""
        sandbox = jinja2.sandbox.ImmutableSandboxedEnvironment()
        filenames = {}
        for number, (label, template) in enumerate(self.injectors["file"].items()):
            path = directory / "env" / f"tmp{number}"
            path.write_text(sandbox.from_string(template).render(**self.inputs), encoding="utf-8")
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            filenames[label.partition(".")[2]] = str(root / "env" / path.name)
        namespace = {**self.inputs, "tower": {"filename": filenames}}
        return {name: sandbox.from_string(template).render(**namespace) for name, template in self.injectors["env"].items()}


def unsafe(value: Any) -> str:
    """As AWX writes variables that are not the template's: every text is marked, so that it is no template."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"!unsafe {str(name)!r}: {unsafe(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(unsafe(each) for each in value) + "]"
    if isinstance(value, str):
        return f"!unsafe {json.dumps(value)}"
    return json.dumps(value)


def run(parameters: dict[str, Any]) -> Job:
    """The job on the controller itself."""
    with surroundings(parameters):
        result = ansible_runner.run(**parameters, quiet=True)
    return Job(result.status, pathlib.Path(parameters["private_data_dir"]), parameters["ident"])


def run_remotely(parameters: dict[str, Any], worker: pathlib.Path) -> Job:
    """The job on an execution node, in ``worker``, with nothing but what the stream brings: transmit, worker, process, as AWX does over its mesh."""
    worker.mkdir()
    with tempfile.TemporaryFile() as sent, tempfile.TemporaryFile() as returned:
        ansible_runner.run(**parameters, streamer="transmit", _output=sent)
        sent.seek(0)
        with surroundings(parameters):
            ansible_runner.run(streamer="worker", private_data_dir=str(worker), _input=sent, _output=returned)
        returned.seek(0)
        result = ansible_runner.run(streamer="process", quiet=True, _input=returned, private_data_dir=parameters["private_data_dir"], ident=parameters["ident"])
    return Job(result.status, pathlib.Path(parameters["private_data_dir"]), parameters["ident"])


class surroundings:
    """Only the programs of the execution environment, and none of the caller's variables for Ansible or AWS: a job has its own."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.saved = dict(os.environ)
        self.path = str(pathlib.Path(parameters["envvars"].get("PATH", os.environ["PATH"])))

    def __enter__(self) -> None:
        for name in [name for name in os.environ if name.startswith(("ANSIBLE_", "AWS_", "MOLECULE_"))]:
            del os.environ[name]
        os.environ["PATH"] = self.path

    def __exit__(self, *_error: object) -> None:
        os.environ.clear()
        os.environ.update(self.saved)
