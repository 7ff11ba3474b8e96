# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backends of a fleet: the ladder of ``backend.py`` over what the sources of an inventory said, and how each workspace is reached.

What a source that failed could have said counts as unknown. A workspace whose container runs on an engine that answered, or whose instance is listed in
a region that answered, is found whatever else failed; any other one is ``none`` with ``lookup: failed`` when a place that could hold it did not answer,
or when a source that could know its runtime or its instance did not.
"""
from __future__ import annotations

import dataclasses
import typing as t

from . import aws_session, backend, connection_variables, docker_engine, fleet_merge
from .ec2_instances import LIVE_STATES, Instance
from .fleet_records import Answer
from .fleet_sources import KNOWLEDGE, Source

ADVICE = backend.Advice(
    without_engine="remove that engine from the sources if it has none of the fleet's workspaces",
    ask_engine="no source of the inventory is a Docker engine; add it",
    without_ec2="remove that source if none of the fleet's workspaces is there",
    ec2_not_asked="no source of the inventory says it",
)


@dataclasses.dataclass(frozen=True)
class Located:
    """A workspace with its backend. ``fact``: the host variable ``workspace_backend``; its ``connection`` is empty, because the host has these variables
    itself, in ``connection`` (and each value of a host costs the controller time and memory). ``container_id``: the engine's id of the container, which
    a re-created container does not share with the one before.
    """

    workspace: fleet_merge.FleetWorkspace
    backend: backend.Backend
    fact: dict[str, t.Any]
    connection: dict[str, t.Any]
    looking_again: dict[str, t.Any]
    container_id: str | None = None


class Locator:
    """Finds the backends of one fleet. ``looked_up_at``: when the sources answered, in seconds since 1970."""

    def __init__(
        self, sources: t.Sequence[Source], answers: t.Mapping[str, Answer], settings: backend.Settings, os_user: str, looked_up_at: int
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._os_user = os_user
        self._looked_up_at = looked_up_at
        kinds = {source.kind for source in sources}
        self._settings = dataclasses.replace(settings, docker="docker" in kinds, ec2="ec2" in kinds, advice=ADVICE)
        self._container_ids = {source.name: answers[source.name].container_ids for source in sources}
        failures = {source.name: answers[source.name].failure for source in sources if answers[source.name].failure}
        self._failures = {kind: _joined(failures[name] for name in failures if self._sources[name].kind == kind) for kind in kinds}
        self._ignorance = _joined(self._failures.get(kind) for kind in KNOWLEDGE)
        self._default_region: str | None = None

    def locate(self, fleet: fleet_merge.Fleet) -> list[Located]:
        """Each workspace of the fleet, in the order of their ids."""
        states = fleet_merge.states(fleet)
        return [self._located(fleet.workspaces[workspace_id], fleet, states) for workspace_id in sorted(fleet.workspaces)]

    def missing(self, workspace: fleet_merge.FleetWorkspace) -> Located:
        """A workspace that an earlier inventory knew, from sources of which one failed now, so that nothing is known of it."""
        failure = self._ignorance or _joined(self._failures.values())
        return self._answer(workspace, _unknown(workspace.as_given(), f"{failure}; it is known from an earlier inventory"), None)

    def _located(self, workspace: fleet_merge.FleetWorkspace, fleet: fleet_merge.Fleet, states: t.Mapping[str, str]) -> Located:
        # an id that only tags say is looked up by these tags, where several instances are told apart and refused
        tagged = self._kind(workspace.field_sources.get("instance_id")) == "ec2"
        given = workspace.as_given(without=["instance_id"] if tagged else [])
        instances = [instance for _source, instance in workspace.instances]
        running = any(states.get(name) == "running" for name in backend.container_names(given))
        live = any(instance.state in LIVE_STATES for instance in instances)
        answer = backend.decide(
            given,
            backend.Evidence(
                containers=states if self._settings.docker else None,
                engine_failure=None if running else self._failures.get("docker"),
                instances=instances if self._settings.ec2 else None,
                ec2_failure=None if live else self._failures.get("ec2"),
                whole_fleet=self._settings.ec2,
            ),
            self._settings,
        )
        answer = self._doubted(answer, fleet)
        source = None
        if answer.tier == "docker":
            source = next(engine for engine, state in fleet.containers[str(answer.container)] if state == "running")
        elif answer.stopped_container in fleet.containers:
            source = fleet.containers[str(answer.stopped_container)][0][0]
        elif answer.tier == "eic":
            source = next((name for name, instance in workspace.instances if instance.instance_id == answer.instance_id), None)
        return self._answer(workspace, answer, source)

    def _doubted(self, answer: backend.Backend, fleet: fleet_merge.Fleet) -> backend.Backend:
        """The ladder's answer, unless there is more than one engine or workspace that it fits, or a source that could contradict it did not answer."""
        container = str(answer.container)
        if answer.tier == "docker":
            engines = [engine for engine, state in fleet.containers[container] if state == "running"]
            if len(engines) > 1:
                return _unknown(answer.workspace, f"it is ambiguous which engine has the workspace, container {container} runs on {' and '.join(engines)}")
            if container in fleet.shared:
                owners = " and ".join(fleet.shared[container])
                return _unknown(answer.workspace, f"it is ambiguous whose container {container} is, workspaces {owners} have that name; give container")
        if not self._ignorance or answer.tier == "external":
            return answer
        if answer.lookup == "not_found":
            return _unknown(answer.workspace, f"{answer.reason}, and {self._ignorance}")
        if answer.lookup == "found" and not answer.runtime:
            return _unknown(answer.workspace, f"its runtime is unknown, because {self._ignorance}")
        return answer

    def _answer(self, workspace: fleet_merge.FleetWorkspace, answer: backend.Backend, source: str | None) -> Located:
        answer = dataclasses.replace(answer, looked_up_at=self._looked_up_at)
        parameters = self._sources[source].parameters if source else {}
        engine = docker_engine.EngineOptions.from_parameters(parameters if answer.tier != "eic" else {})
        instance = next((found for _source, found in workspace.instances if found.instance_id == answer.instance_id), None)
        region = self._region(workspace, instance) if answer.tier == "eic" else None
        aws = aws_session.AwsOptions(region=region, profile=parameters.get("profile") if answer.tier == "eic" else None)
        connection = connection_variables.for_backend(answer, engine, aws, os_user=self._os_user)
        fact = answer.fact({}, engine.as_parameters())
        container_id = self._container_ids[source].get(str(answer.container)) if source and answer.tier == "docker" else None
        return Located(workspace, answer, fact, connection, self._looking_again(answer, engine, region, parameters), container_id)

    def _looking_again(
        self, answer: backend.Backend, engine: docker_engine.EngineOptions, region: str | None, parameters: t.Mapping[str, t.Any]
    ) -> dict[str, t.Any]:
        """The variables with which the role ``backend`` asks the same place again; the eic connection takes the role to assume from them, too."""
        if answer.tier == "docker" or answer.stopped_container:
            options = engine.as_parameters()
            names = {"docker_host": "docker_host", "tls": "docker_tls", "validate_certs": "docker_validate_certs", "ca_path": "docker_ca_path"}
            names.update(client_cert="docker_client_cert", client_key="docker_client_key")
            return {"workspace_lookups": ["docker"], **{f"workspace_{name}": options[option] for option, name in names.items() if options.get(option)}}
        if answer.tier == "eic":
            names = {"profile": "aws_profile", "endpoint_url": "ec2_endpoint_url", "aws_ca_bundle": "aws_ca_bundle", "assume_role_arn": "aws_assume_role_arn"}
            found = {f"workspace_{name}": parameters[option] for option, name in names.items() if parameters.get(option)}
            if not parameters:
                # no EC2 source knows it, so only its id can find it again
                found["workspace_instance_id"] = answer.instance_id
            return {"workspace_lookups": ["ec2"], "workspace_region": region, **found}
        return {}

    def _region(self, workspace: fleet_merge.FleetWorkspace, instance: Instance | None) -> str:
        if instance is not None and instance.region:
            return instance.region
        if "region" in workspace.fields:
            return workspace.fields["region"]
        if self._default_region is None:
            options = aws_session.AwsOptions()
            self._default_region = aws_session.region(options, aws_session.session(options))
        return self._default_region

    def _kind(self, source: str | None) -> str | None:
        return self._sources[source].kind if source in self._sources else None


def _unknown(workspace: backend.Workspace, reason: str) -> backend.Backend:
    return backend.Backend(workspace, "none", "failed", reason, workspace.runtime or "")


def _joined(failures: t.Iterable[str | None]) -> str | None:
    return "; ".join(failure for failure in failures if failure) or None
