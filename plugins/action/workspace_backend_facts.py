# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: options of ``workspace_backend_facts`` -> ``backend_evidence.find_backends`` -> facts. It runs on the controller and connects to no workspace."""
from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ..module_utils import names
from ..module_utils.engine_arguments import ENGINE_ARGUMENT_SPEC
from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..plugin_utils import aws_session, backend, backend_evidence, connection_variables, docker_engine, task_data

WORKSPACE_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "workspace_id": {"type": "str"},
    "runtime": {"type": "str"},
    "instance_id": {"type": "str"},
    "container": {"type": "str"},
    "config_dir": {"type": "str"},
    "unit": {"type": "str"},
    "runtime_container": {"type": "str", "default": backend.DEFAULT_RUNTIME_CONTAINER},
}

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    **WORKSPACE_ARGUMENT_SPEC,
    "workspaces": {"type": "list", "elements": "dict", "options": {**WORKSPACE_ARGUMENT_SPEC, "workspace_id": {"type": "str", "required": True}}},
    "lookups": {"type": "list", "elements": "str", "choices": list(backend.LOOKUPS), "default": list(backend.LOOKUPS)},
    "external_runtimes": {"type": "list", "elements": "str", "default": list(backend.DEFAULT_EXTERNAL_RUNTIMES)},
    "runtime_config_dirs": {"type": "dict", "default": dict(backend.DEFAULT_RUNTIME_CONFIG_DIRS)},
    "os_user": {"type": "str", "default": "ubuntu"},
    **ENGINE_ARGUMENT_SPEC,
    **aws_session.AWS_ARGUMENT_SPEC,
}


class ActionModule(ActionBase):
    """Looks up the backends of one or many workspaces."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return ``ansible_facts``; a lookup that failed is a fact, only input that cannot be right fails the task."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            _validation, arguments = self.validate_argument_spec(
                argument_spec=ARGUMENT_SPEC, mutually_exclusive=[("workspace_id", "workspaces")], required_one_of=[("workspace_id", "workspaces")]
            )
            result["ansible_facts"] = facts(task_data.plain(arguments))
        except (WorkspaceError, AnsibleActionFail) as error:
            raise task_data.failure(error) from None
        result["changed"] = False
        return result


def facts(arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """``workspace_backend`` for one workspace, ``workspace_backends`` (by id) for a list; raises :class:`WorkspaceError`."""
    engine = docker_engine.EngineOptions.from_parameters(arguments)
    aws = aws_session.AwsOptions.from_parameters(arguments)
    settings = backend.Settings(
        docker="docker" in arguments["lookups"],
        ec2="ec2" in arguments["lookups"],
        external_runtimes=arguments["external_runtimes"],
        runtime_config_dirs={runtime: names.validate_config_dir(path) for runtime, path in arguments["runtime_config_dirs"].items()},
    )
    several = arguments.get("workspaces") is not None
    workspaces = [workspace_from(entry) for entry in (arguments["workspaces"] if several else [arguments])]
    _refuse_duplicates(workspaces)
    answers = backend_evidence.find_backends(workspaces, settings, engine, aws)
    # only an eic connection needs the region, and only then must botocore be there
    region = aws_session.region(aws, aws_session.session(aws)) if any(answer.tier == "eic" for answer in answers) else None
    found = {}
    for answer in answers:
        connection = connection_variables.for_backend(answer, engine, region=region, profile=aws.profile, os_user=arguments["os_user"])
        found[answer.workspace.workspace_id] = answer.fact(connection, engine.as_parameters())
    return {"workspace_backends": found} if several else {"workspace_backend": found[workspaces[0].workspace_id]}


def workspace_from(entry: t.Mapping[str, t.Any]) -> backend.Workspace:
    """One workspace from its options; surrounding blanks do not count, and an empty string counts as not given.

    Raises :class:`InvalidInputError` naming the workspace.
    """
    given = {name: (entry.get(name) or "").strip() or None for name in WORKSPACE_ARGUMENT_SPEC}
    workspace_id = names.validate_workspace_id(given["workspace_id"])
    validators = {
        "container": names.validate_container_name,
        "config_dir": names.validate_config_dir,
        "unit": names.validate_systemd_unit,
        "runtime_container": names.validate_container_name,
    }
    try:
        checked = {name: validate(given[name]) for name, validate in validators.items() if given[name] is not None}
    except InvalidInputError as error:
        raise InvalidInputError(f"workspace {workspace_id}: {error}") from error
    return backend.Workspace(workspace_id, runtime=given["runtime"], instance_id=given["instance_id"], **checked)


def _refuse_duplicates(workspaces: t.Sequence[backend.Workspace]) -> None:
    """Each workspace has one answer, so each may be asked for once."""
    seen: set[str] = set()
    for workspace in workspaces:
        if workspace.workspace_id in seen:
            raise InvalidInputError(f"workspace {workspace.workspace_id} is listed twice; list each workspace once")
        seen.add(workspace.workspace_id)
