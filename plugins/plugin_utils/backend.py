# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tier ladder: from what is given and what was looked up to the one tier of a workspace. Pure; it asks nobody.

The order is the platform's own:

1. an external-like runtime -> ``external``, even with an instance id;
2. a running container of the workspace on the Docker engine -> ``docker``;
3. an EC2 instance id -> ``eic``;
4. otherwise -> ``none``.

Two things the platform gets wrong are decided here: a rung that could not be looked at ends the ladder (``none`` with ``lookup: failed``),
it is never taken for "nothing there"; and a runtime that could not be learned never gets the default config dir.
"""
from __future__ import annotations

import dataclasses
import re
import typing as t

from ..module_utils.names import INSTANCE_ID
from .ec2_instances import LIVE_STATES, Instance

CONTAINER_IN_INSTANCE_ID = re.compile(r"mol-ws-[a-zA-Z0-9_.-]{1,120}")
"""What newer platforms store as ``instance_id`` of a Docker workspace: a container's name. Taking it for an instance hangs for minutes."""

DEFAULT_CONFIG_DIR = "/configs"
"""In every workspace container, and on EC2 hosts for the runtimes that the map does not name."""

DEFAULT_RUNTIME_CONFIG_DIRS: t.Mapping[str, str] = {"hermes": "/home/ubuntu/.hermes", "langgraph": "/opt/configs"}
"""Config dirs on EC2 hosts by runtime, as of the platform's release of May 2026."""

HELD_STATES: t.Mapping[str, str] = {"paused": "unpause it", "restarting": "look at its log, or try again once it runs"}
"""States in which the engine itself says Running, but nothing can be executed in the container: it is the workspace, and it cannot be reached now."""

DOWN_STATES = ("exited", "restarting", "dead")
"""States in which a container was running and does not stay up."""

DEFAULT_EXTERNAL_RUNTIMES = ("external",)
DEFAULT_RUNTIME_CONTAINER = "molecule-workspace"
LOOKUPS = ("docker", "ec2")


@dataclasses.dataclass(frozen=True)
class Workspace:
    """One workspace as the user gives it. ``None`` is "not given"; an empty ``runtime`` is given, and empty."""

    workspace_id: str
    runtime: str | None = None
    instance_id: str | None = None
    container: str | None = None
    config_dir: str | None = None
    unit: str | None = None
    runtime_container: str = DEFAULT_RUNTIME_CONTAINER


@dataclasses.dataclass(frozen=True)
class Advice:
    """What the reasons tell a person to change, in the words of what they use: here the options of ``workspace_backend_facts``."""

    without_engine: str = "a fleet without a Docker engine sets lookups to [ec2]"
    ask_engine: str = "lookups does not name docker; add it"
    without_ec2: str = "a fleet without EC2 sets lookups to [docker]"
    ec2_not_asked: str = "lookups does not name ec2"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What holds for all workspaces of a call; ``docker`` and ``ec2`` say whether they are looked at at all."""

    docker: bool = True
    ec2: bool = True
    external_runtimes: t.Sequence[str] = DEFAULT_EXTERNAL_RUNTIMES
    runtime_config_dirs: t.Mapping[str, str] = dataclasses.field(default_factory=lambda: DEFAULT_RUNTIME_CONFIG_DIRS)
    advice: Advice = dataclasses.field(default_factory=Advice)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the lookups said. ``None`` in a pair of both: not asked. A failure is a sentence, and then the listing is ``None``.

    ``containers``: state by container name, as the engine spells it ("running", "paused", "exited"…). ``instances``: in any state.
    ``whole_fleet``: EC2 was asked for every instance there is, given ids included, so its word counts more than what is given.
    """

    containers: t.Mapping[str, str] | None = None
    engine_failure: str | None = None
    instances: t.Sequence[Instance] | None = None
    ec2_failure: str | None = None
    whole_fleet: bool = False


@dataclasses.dataclass(frozen=True)
class Backend:
    """The ladder's answer for one workspace; ``lookup`` is "found", "not_found" or "failed", ``reason`` one sentence.

    ``stopped_container``: for tier ``none``, the workspace's container, if it is there and down.
    ``looked_up_at``: seconds since 1970, set by an inventory, whose answers are used later; ``None`` by a task, which looks when it is asked.
    """

    workspace: Workspace
    tier: str
    lookup: str
    reason: str
    runtime: str = ""
    container: str | None = None
    instance_id: str | None = None
    private_address: str | None = None
    config_dir: str | None = None
    stopped_container: str | None = None
    looked_up_at: int | None = None

    @property
    def runtime_config_dir(self) -> str | None:
        """The config dir as the runtime sees it: mounted at /configs in its container on an EC2 host, the same path everywhere else."""
        if self.tier == "eic" and self.workspace.unit is None:
            return DEFAULT_CONFIG_DIR
        return self.config_dir

    def fact(self, connection: t.Mapping[str, t.Any], engine: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The fact ``workspace_backend``; ``connection`` holds the connection variables that reach the workspace, ``engine`` the engine's options."""
        restart: dict[str, str | None] = {"method": None, "container": None, "unit": None}
        if self.tier == "docker":
            restart.update(method="docker_engine", container=self.container)
        elif self.tier == "eic":
            restart.update(method="ec2_host", unit=self.workspace.unit, container=None if self.workspace.unit else self.workspace.runtime_container)
        return {
            "tier": self.tier,
            "lookup": self.lookup,
            "reason": self.reason,
            "workspace_id": self.workspace.workspace_id,
            "runtime": self.runtime,
            "container": self.container,
            "instance_id": self.instance_id,
            "config_dir": self.config_dir,
            "runtime_config_dir": self.runtime_config_dir,
            "restart": restart,
            "stopped": (
                {"container": self.stopped_container, "config_dir": self.workspace.config_dir or DEFAULT_CONFIG_DIR} if self.stopped_container else None
            ),
            "engine": dict(engine or {}) if self.tier == "docker" or self.stopped_container else None,
            "connection": dict(connection),
            "looked_up_at": self.looked_up_at,
            "run": None,
            "download_hint": download_hint(self.workspace.workspace_id) if self.tier == "external" else None,
        }


def download_hint(workspace_id: str) -> str:
    """What the operator of an external workspace does instead: it pulls plugins itself (the platform answers 422 with the same hint)."""
    return (
        f"workspace {workspace_id} pulls its plugins itself: GET /workspaces/{workspace_id}/plugins/<plugin name>/download on the platform "
        "and unpack the archive there; to uninstall a plugin, remove its directory there"
    )


def is_external(runtime: str | None, settings: Settings) -> bool:
    """Whether this runtime runs somewhere else; compared without case and surrounding blanks."""
    return _normalised(runtime) in {_normalised(name) for name in settings.external_runtimes} - {""}


def config_dir_of(runtime: str, runtime_config_dirs: t.Mapping[str, str]) -> str:
    """The config dir on an EC2 host. Empty and unknown runtimes have the default; a runtime that nobody could look up must not come here."""
    return {_normalised(name): path for name, path in runtime_config_dirs.items()}.get(_normalised(runtime), DEFAULT_CONFIG_DIR)


def container_names(workspace: Workspace) -> list[str]:
    """The names that this workspace's container can have, the operator's own word first, then what the platform's releases use."""
    names = [workspace.container, container_in_instance_id(workspace), f"ws-{workspace.workspace_id[:12]}", f"ws-{workspace.workspace_id}"]
    return list(dict.fromkeys(name for name in names if name))


def container_in_instance_id(workspace: Workspace) -> str | None:
    """The container that the platform stored as instance id, or ``None``."""
    return workspace.instance_id if workspace.instance_id and CONTAINER_IN_INSTANCE_ID.fullmatch(workspace.instance_id) else None


def wants_engine(workspace: Workspace, settings: Settings) -> bool:
    """Whether the ladder has to know the engine's containers for this workspace."""
    return settings.docker and not is_external(workspace.runtime, settings)


def wants_ec2(workspace: Workspace, evidence: Evidence, settings: Settings) -> str | None:
    """What the ladder still has to ask EC2 once the engine has answered: "tag", "instance_id" or ``None`` for nothing."""
    if not settings.ec2 or _before_ec2(workspace, evidence, settings) is not None:
        return None
    if workspace.instance_id is None:
        return "tag"
    return "instance_id" if workspace.runtime is None else None


def decide(workspace: Workspace, evidence: Evidence, settings: Settings) -> Backend:
    """Climb the ladder for one workspace."""
    found = _before_ec2(workspace, evidence, settings) or _on_ec2(workspace, evidence, settings)
    return dataclasses.replace(found, stopped_container=_stopped_container(workspace, evidence)) if found.tier == "none" else found


def _stopped_container(workspace: Workspace, evidence: Evidence) -> str | None:
    """The workspace's container that is down, if there is exactly one: it may be made to run again."""
    down = [name for name in container_names(workspace) if (evidence.containers or {}).get(name) in DOWN_STATES]
    return down[0] if len(down) == 1 else None


def _before_ec2(workspace: Workspace, evidence: Evidence, settings: Settings) -> Backend | None:
    """The rungs that need no EC2; ``None`` if the ladder goes on."""
    if is_external(workspace.runtime, settings):
        return _external(workspace, str(workspace.runtime))
    if evidence.engine_failure:
        return _none(workspace, "failed", f"{evidence.engine_failure}; {settings.advice.without_engine}")
    names = container_names(workspace)
    if evidence.containers is not None:
        running = [name for name in names if evidence.containers.get(name) == "running"]
        named = [name for name in running if name in (workspace.container, container_in_instance_id(workspace))]
        if len(running) > 1 and not named:
            return _none(workspace, "failed", f"it is ambiguous which container is the workspace, {_listed(running)} are both running; name one as container")
        if running:
            container = (named or running)[0]
            return Backend(
                workspace, "docker", "found", f"container {container} is running on the Docker engine", workspace.runtime or "", container=container,
                config_dir=workspace.config_dir or DEFAULT_CONFIG_DIR,
            )
        held = next((name for name in names if evidence.containers.get(name) in HELD_STATES), None)
        if held:
            state = evidence.containers[held]
            return _none(workspace, "not_found", f"container {held} is {state}; {HELD_STATES[state]}")
    elif workspace.container or container_in_instance_id(workspace):
        return _none(workspace, "failed", f"the workspace is container {names[0]}, but {settings.advice.ask_engine}")
    if container_in_instance_id(workspace):
        return _none(workspace, "not_found", f"instance_id names a container, and {_containers(workspace, evidence)}; start it")
    if workspace.instance_id is not None and not INSTANCE_ID.fullmatch(workspace.instance_id):
        return _none(workspace, "not_found", f"instance_id {workspace.instance_id!r} is neither an EC2 instance id nor the name of a workspace's container")
    return None


def _on_ec2(workspace: Workspace, evidence: Evidence, settings: Settings) -> Backend:
    """The rungs below the Docker engine."""
    also = f"{_containers(workspace, evidence)}, and " if evidence.containers is not None else ""
    if workspace.instance_id is not None and workspace.runtime is not None and not evidence.whole_fleet:
        return _eic(workspace, Instance(workspace.instance_id, "running", runtime=workspace.runtime), f"{also}its EC2 instance id is given", settings)
    if evidence.ec2_failure:
        if workspace.instance_id is not None and workspace.config_dir is not None and not evidence.whole_fleet:
            return _eic(workspace, Instance(workspace.instance_id, "running"), f"{also}its EC2 instance id and config dir are given", settings)
        believed = workspace.instance_id and not evidence.whole_fleet
        instead = "give runtime or config_dir to do without this lookup" if believed else settings.advice.without_ec2
        return _none(workspace, "failed", f"{also}{evidence.ec2_failure}; {instead}")
    if evidence.instances is None:
        if workspace.instance_id is None:
            return _none(workspace, "not_found", f"{also}no instance id is given" if also else "nothing was looked at and no instance id is given")
        if workspace.config_dir is None:
            reason = f"the runtime is not given and {settings.advice.ec2_not_asked}, so the config dir is unknown; give runtime or config_dir"
            return _none(workspace, "failed", f"{also}{reason}")
        return _eic(workspace, Instance(workspace.instance_id, "running"), f"{also}its EC2 instance id and config dir are given", settings)
    if workspace.instance_id is None:
        found = [instance for instance in evidence.instances if instance.workspace_id == workspace.workspace_id and instance.role == "workspace"]
        if not found:
            return _none(workspace, "not_found", f"{also}no EC2 instance is tagged as this workspace (WorkspaceID, Role=workspace)")
    else:
        found = [instance for instance in evidence.instances if instance.instance_id == workspace.instance_id]
        if not found:
            return _none(workspace, "not_found", f"{also}EC2 knows no instance {workspace.instance_id} in this account and region")
        stranger = _stranger(workspace, found[0])
        if stranger:
            return _none(workspace, "failed", f"{also}{stranger}")
    live = [instance for instance in found if instance.state in LIVE_STATES]
    if len(live) > 1:
        several = _listed([instance.instance_id for instance in live])
        return _none(workspace, "failed", f"{also}it is ambiguous which EC2 instance is the workspace, {several} are tagged with its id; give instance_id")
    if not live or live[0].state != "running":
        states = _listed([f"{instance.instance_id} is {instance.state}" for instance in live or found])
        return _none(workspace, "not_found", f"{also}its EC2 instance {states}")
    return _eic(workspace, live[0], f"{also}its EC2 instance is running", settings)


def _stranger(workspace: Workspace, instance: Instance) -> str | None:
    """Why this instance is not the workspace, by its own tags; an instance without tags may be it."""
    if instance.workspace_id not in ("", workspace.workspace_id):
        return f"instance {instance.instance_id} is tagged as workspace {instance.workspace_id}; correct instance_id or workspace_id"
    if instance.role not in ("", "workspace"):
        return f"instance {instance.instance_id} is tagged Role={instance.role}, it is no workspace; correct instance_id"
    return None


def _eic(workspace: Workspace, instance: Instance, reason: str, settings: Settings) -> Backend:
    """The answer for an instance that runs (or was given, which counts as running until the connection says otherwise)."""
    runtime = workspace.runtime if workspace.runtime is not None else instance.runtime
    if runtime is not None and is_external(runtime, settings):
        return _external(workspace, runtime)
    if runtime is None and workspace.config_dir is None:
        return _none(workspace, "failed", f"instance {instance.instance_id} has no tag Runtime, so its config dir is unknown; give runtime or config_dir")
    return Backend(
        workspace, "eic", "found", reason, runtime or "", instance_id=instance.instance_id, private_address=instance.private_address,
        config_dir=workspace.config_dir or config_dir_of(runtime or "", settings.runtime_config_dirs),
    )


def _external(workspace: Workspace, runtime: str) -> Backend:
    return Backend(workspace, "external", "found", f"runtime {runtime.strip()} runs elsewhere and pulls its plugins itself", runtime)


def _none(workspace: Workspace, lookup: str, reason: str) -> Backend:
    return Backend(workspace, "none", lookup, reason, workspace.runtime or "")


def _containers(workspace: Workspace, evidence: Evidence) -> str:
    """What the engine said of the workspace's containers, none of which is running."""
    names = container_names(workspace)
    containers = evidence.containers or {}
    states = [f"container {name} is {containers[name]}" for name in names if name in containers]
    return _listed(states) if states else f"the Docker engine has no container {_listed(names, 'or')}"


def _listed(words: t.Sequence[str], conjunction: str = "and") -> str:
    return f" {conjunction} ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _normalised(runtime: str | None) -> str:
    return (runtime or "").strip().lower()
