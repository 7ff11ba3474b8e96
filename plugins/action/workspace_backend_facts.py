# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: options of ``workspace_backend_facts`` -> ``backend_evidence.find_backends`` -> facts. It runs on the controller and connects to no workspace."""
from __future__ import annotations

import dataclasses
import os
import time
import typing as t

from ansible import constants as C
from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils import names
from ..module_utils.engine_arguments import ENGINE_ARGUMENT_SPEC
from ..module_utils.errors import InvalidInputError
from ..module_utils.names import is_integer
from ..plugin_utils import aws_session, backend, backend_evidence, connection_variables, docker_engine, task_data
from ..plugin_utils.controller_action import ControllerAction
from ..plugin_utils.workspace_options import WORKSPACE_ARGUMENT_SPEC, refuse_duplicates, workspace_from

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    **WORKSPACE_ARGUMENT_SPEC,
    "workspaces": {"type": "list", "elements": "dict", "options": {**WORKSPACE_ARGUMENT_SPEC, "workspace_id": {"type": "str", "required": True}}},
    "from_variables": {"type": "bool", "default": False},
    "known": {"type": "dict"},
    "max_age": {"type": "int", "default": 3600},
    "lookups": {"type": "list", "elements": "str", "choices": list(backend.LOOKUPS), "default": list(backend.LOOKUPS)},
    "external_runtimes": {"type": "list", "elements": "str", "default": list(backend.DEFAULT_EXTERNAL_RUNTIMES)},
    "runtime_config_dirs": {"type": "dict", "default": dict(backend.DEFAULT_RUNTIME_CONFIG_DIRS)},
    "os_user": {"type": "str", "default": "ubuntu"},
    **ENGINE_ARGUMENT_SPEC,
    **aws_session.AWS_ARGUMENT_SPEC,
}
VARIABLES = {
    **{name: f"workspace_{name}" for name in ("runtime", "instance_id", "container", "config_dir", "unit", "runtime_container")},
    **{name: f"workspace_{name}" for name in ("lookups", "external_runtimes", "runtime_config_dirs", "os_user", "docker_host", "region")},
    **{name: f"workspace_docker_{name}" for name in ("tls", "validate_certs", "ca_path", "client_cert", "client_key")},
    **{name: f"workspace_aws_{name}" for name in ("profile", "access_key", "secret_key", "session_token", "assume_role_arn")},
    "workspace_id": "workspace_id", "endpoint_url": "workspace_ec2_endpoint_url", "aws_ca_bundle": "workspace_aws_ca_bundle",
}
"""The variables of the role ``backend`` by option: what ``from_variables`` reads."""


class ActionModule(ControllerAction):
    """Looks up the backends of one or many workspaces."""

    _requires_connection = False

    def answer(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return ``ansible_facts``; a lookup that failed is a fact, only input that cannot be right fails the task."""
        arguments = self._arguments(task_vars)
        run = os.path.basename(C.DEFAULT_LOCAL_TMP)  # a directory of this run only, and of all its workers
        known = known_backend(arguments, task_vars.get("ansible_facts") or {}, time.time(), run)
        found = {"workspace_backend": known} if known else facts(arguments)
        if "workspace_backend" in found:
            found = {"workspace_backend": {**found["workspace_backend"], "run": run}}
        return {"changed": False, "ansible_facts": found}

    def _arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the options; what comes from variables is checked under the variables' names, which are those that the user has written."""
        variables: dict[str, str] = {}
        if boolean(self._task.args.get("from_variables", False), strict=False):
            variables = VARIABLES
            # As one dictionary, out of which ansible-core 2.19 takes what is omitted; before it, that is a text.
            given = self._templar.template({name: task_vars[name] for name in variables.values() if task_vars.get(name) is not None})
            given = {name: value for name, value in given.items() if value != task_vars.get("omit")}
            self._task.args = {**given, **{variables.get(option, option): value for option, value in self._task.args.items()}}
        arguments = self.parameters(
            {variables.get(option, option): specification for option, specification in ARGUMENT_SPEC.items()},
            mutually_exclusive=[("workspace_id", "workspaces"), ("workspaces", "known")],
            required_one_of=[("workspace_id", "workspaces")],
        )
        return {**arguments, **{option: arguments[name] for option, name in variables.items()}}


def known_backend(arguments: t.Mapping[str, t.Any], found_before: t.Mapping[str, t.Any], now: float, run: str) -> dict[str, t.Any] | None:
    """The answer that an inventory has given already, if it may still be used; ``now`` and ages are in seconds, ``run`` names this run.

    It may not when it did not find the workspace, when it is too old, or when a task has found something else since (``found_before``, the host's facts):
    then the workspace may have moved, as after a restart by the platform. Raises :class:`InvalidInputError` if it is about another workspace.
    Nor may it when it is what an earlier run has taken: ansible-core lets facts hide the inventory's variables, and a fact cache keeps them, so what the
    inventory says by now is not to be seen.
    """
    known = arguments.get("known")
    if not known or not is_integer(known.get("looked_up_at")) or known.get("lookup") != "found":
        return None
    workspace_id = (arguments.get("workspace_id") or "").strip()
    if known.get("workspace_id") != workspace_id:
        raise InvalidInputError(f"known is about workspace {known.get('workspace_id')}, not about {workspace_id}: give the host variable workspace_backend")
    if known.get("run") not in (None, run):
        return None
    before = task_data.plain(found_before.get("workspace_backend"))
    if before and (not isinstance(before, dict) or {**before, "run": None} != {**known, "run": None}):
        return None
    return known if now - known["looked_up_at"] <= arguments["max_age"] else None


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
    refuse_duplicates(workspaces)
    answers = backend_evidence.find_backends(workspaces, settings, engine, aws)
    # only an eic connection needs the region, and only then must botocore be there
    if any(answer.tier == "eic" for answer in answers):
        aws = dataclasses.replace(aws, region=aws_session.region(aws, aws_session.session(aws)))
    found = {}
    for answer in answers:
        connection = connection_variables.for_backend(answer, engine, aws, os_user=arguments["os_user"])
        found[answer.workspace.workspace_id] = answer.fact(connection, engine.as_parameters())
    return {"workspace_backends": found} if several else {"workspace_backend": found[workspaces[0].workspace_id]}
