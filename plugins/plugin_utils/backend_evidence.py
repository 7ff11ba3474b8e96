# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the Docker engine and at EC2 for any number of workspaces at once, and takes them up the ladder of ``backend.py``.

The cost does not grow with the workspaces: at most one listing of the engine, and of EC2 one query by tag and one by instance id
(200 values a query). What nobody needs is not asked.
"""
from __future__ import annotations

import dataclasses
import re
import time
import typing as t

from ..module_utils.container_readiness import STOPPED_SECONDS
from . import aws_session, backend, docker_engine, ec2_instances

# The engine's words for a container that has stopped in the last seconds (``Status`` of its listing; the duration is go-units' HumanDuration).
_JUST_STOPPED = re.compile(rf"Exited \(\d+\) (?:Less than a second|[1-{STOPPED_SECONDS}] seconds?) ago")


def find_backends(
    workspaces: t.Sequence[backend.Workspace], settings: backend.Settings, engine: docker_engine.EngineOptions, aws: aws_session.AwsOptions
) -> list[backend.Backend]:
    """The backend of each workspace, in their order. A failed lookup is part of the answer; only options that cannot work raise
    :class:`~.module_utils.errors.InvalidInputError`.
    """
    evidence = backend.Evidence()
    names = {name for workspace in workspaces if backend.wants_engine(workspace, settings) for name in backend.container_names(workspace)}
    if names:
        evidence = _ask_engine(evidence, engine, names)
    questions = [(backend.wants_ec2(workspace, evidence, settings), workspace) for workspace in workspaces]
    workspace_ids = [workspace.workspace_id for question, workspace in questions if question == "tag"]
    instance_ids = [workspace.instance_id for question, workspace in questions if question == "instance_id" and workspace.instance_id]
    if workspace_ids or instance_ids:
        evidence = _ask_ec2(evidence, aws, workspace_ids, instance_ids)
    return [backend.decide(workspace, evidence, settings) for workspace in workspaces]


def _ask_engine(evidence: backend.Evidence, options: docker_engine.EngineOptions, names: t.Collection[str]) -> backend.Evidence:
    """Add the engine's containers, or why there is no listing. One of ``names`` that has just stopped may be about to start again: somebody restarts it."""
    try:
        listing = docker_engine.all_containers(options)
        for _second in range(STOPPED_SECONDS):
            just_stopped = {name for name, status in by_name(listing, "Status").items() if _JUST_STOPPED.fullmatch(status)}
            if just_stopped.isdisjoint(names):
                break
            time.sleep(1)
            listing = docker_engine.all_containers(options)
    except docker_engine.EngineError as error:
        return dataclasses.replace(evidence, engine_failure=str(error))
    return dataclasses.replace(evidence, containers=by_name(listing, "State"))


def by_name(listing: t.Iterable[t.Mapping[str, t.Any]], what: str) -> dict[str, str]:
    """``what`` ("State", "Status", "Id") by container name from the engine's listing; "/a" is a name, "/other/a" only a link's alias for it."""
    return {name[1:]: container[what] for container in listing for name in container.get("Names") or [] if name.count("/") == 1}


def _ask_ec2(
    evidence: backend.Evidence, options: aws_session.AwsOptions, workspace_ids: t.Sequence[str], instance_ids: t.Sequence[str]
) -> backend.Evidence:
    """Add the instances, or why EC2 could not be asked; an instance that both queries find counts once."""
    try:
        client = aws_session.client(options, "ec2")
        found = ec2_instances.find_by_workspace_ids(client, list(dict.fromkeys(workspace_ids)))
        found += ec2_instances.find_by_instance_ids(client, list(dict.fromkeys(instance_ids)))
    except aws_session.AwsError as error:
        return dataclasses.replace(evidence, ec2_failure=str(error))
    return dataclasses.replace(evidence, instances=list({instance.instance_id: instance for instance in found}.values()))
