# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ladder's answers word by word: the sentence that a person acts on, and the fact that roles and the restart read."""
from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import backend
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.ec2_instances import Instance

ID = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"
SHORT = "ws-3f2b8c1e-9a4"
LONG = f"ws-{ID}"
STORED = "mol-ws-reviewer-0a1b2c"
INSTANCE = "i-0123456789abcdef0"
OTHER = "i-0fedcba9876543210"
OURS = Instance(INSTANCE, "running", ID, "hermes", "workspace", "10.0.1.17")
ABSENT = f"the Docker engine has no container {SHORT} or {LONG}"
UNTAGGED = "no EC2 instance is tagged as this workspace (WorkspaceID, Role=workspace)"
ENGINE_ASKED: dict[str, t.Any] = {"containers": {}}
BOTH_ASKED: dict[str, t.Any] = {"containers": {}, "instances": []}
EC2_FAILED: dict[str, t.Any] = {"containers": {}, "ec2_failure": "EC2 is silent"}
EVERYWHERE: dict[str, t.Any] = {"instances": [], "whole_fleet": True}


def seen(*instances: Instance, **more: t.Any) -> dict[str, t.Any]:
    """EC2 was asked, the engine was not."""
    return {"instances": instances, **more}


def ours(**others: t.Any) -> Instance:
    return dataclasses.replace(OURS, **others)


REASONS: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], str]] = {
    # given, evidence, reason
    "external": ({"runtime": " External "}, {}, "runtime External runs elsewhere and pulls its plugins itself"),
    "external by tag": ({}, seen(ours(runtime="external")), "runtime external runs elsewhere and pulls its plugins itself"),
    "engine failed": (
        {}, {"engine_failure": "the engine is silent"}, "the engine is silent; a fleet without a Docker engine sets lookups to [ec2]",
    ),
    "running": ({}, {"containers": {SHORT: "running", LONG: "exited"}}, f"container {SHORT} is running on the Docker engine"),
    "two running": (
        {}, {"containers": {SHORT: "running", LONG: "running"}},
        f"it is ambiguous which container is the workspace, {SHORT} and {LONG} are both running; name one as container",
    ),
    "paused": ({}, {"containers": {LONG: "paused"}}, f"container {LONG} is paused; unpause it"),
    "the first of two that are held": (
        {}, {"containers": {LONG: "paused", SHORT: "restarting"}}, f"container {SHORT} is restarting; look at its log, or try again once it runs",
    ),
    "named, engine not asked": ({"container": "agent"}, {}, "the workspace is container agent, but lookups does not name docker; add it"),
    "stored, engine not asked": ({"instance_id": STORED}, {}, f"the workspace is container {STORED}, but lookups does not name docker; add it"),
    "stored, absent": (
        {"instance_id": STORED}, ENGINE_ASKED, f"instance_id names a container, and the Docker engine has no container {STORED}, {SHORT} or {LONG}; start it",
    ),
    "stored, down": (
        {"instance_id": STORED}, {"containers": {STORED: "exited", SHORT: "created"}},
        f"instance_id names a container, and container {STORED} is exited and container {SHORT} is created; start it",
    ),
    "no instance id": (
        {"instance_id": "i-1"}, BOTH_ASKED, "instance_id 'i-1' is neither an EC2 instance id nor the name of a workspace's container",
    ),
    "given": ({"instance_id": INSTANCE, "runtime": "hermes"}, {}, "its EC2 instance id is given"),
    "given, engine asked": ({"instance_id": INSTANCE, "runtime": "hermes"}, ENGINE_ASKED, f"{ABSENT}, and its EC2 instance id is given"),
    "given with config dir, EC2 failed": (
        {"instance_id": INSTANCE, "config_dir": "/d"}, EC2_FAILED, f"{ABSENT}, and its EC2 instance id and config dir are given",
    ),
    "given with config dir, EC2 not asked": ({"instance_id": INSTANCE, "config_dir": "/d"}, {}, "its EC2 instance id and config dir are given"),
    "given with config dir, only the engine asked": (
        {"instance_id": INSTANCE, "config_dir": "/d"}, ENGINE_ASKED, f"{ABSENT}, and its EC2 instance id and config dir are given",
    ),
    "EC2 failed": ({}, EC2_FAILED, f"{ABSENT}, and EC2 is silent; a fleet without EC2 sets lookups to [docker]"),
    "EC2 failed, instance given": (
        {"instance_id": INSTANCE}, EC2_FAILED, f"{ABSENT}, and EC2 is silent; give runtime or config_dir to do without this lookup",
    ),
    "EC2 failed for the whole fleet": (
        {"instance_id": INSTANCE, "runtime": "x", "config_dir": "/d"}, {"ec2_failure": "EC2 is silent", "whole_fleet": True},
        "EC2 is silent; a fleet without EC2 sets lookups to [docker]",
    ),
    "nothing asked, nothing given": ({}, {}, "nothing was looked at and no instance id is given"),
    "only the engine asked, nothing given": ({}, ENGINE_ASKED, f"{ABSENT}, and no instance id is given"),
    "runtime unknown, EC2 not asked": (
        {"instance_id": INSTANCE}, {},
        "the runtime is not given and lookups does not name ec2, so the config dir is unknown; give runtime or config_dir",
    ),
    "runtime unknown, only the engine asked": (
        {"instance_id": INSTANCE}, ENGINE_ASKED,
        f"{ABSENT}, and the runtime is not given and lookups does not name ec2, so the config dir is unknown; give runtime or config_dir",
    ),
    "nothing anywhere": ({}, BOTH_ASKED, f"{ABSENT}, and {UNTAGGED}"),
    "no instance": ({}, seen(), UNTAGGED),
    "down, no instance": ({}, seen(containers={SHORT: "exited"}), f"container {SHORT} is exited, and {UNTAGGED}"),
    "a tenant's": ({}, seen(ours(role="tenant")), UNTAGGED),
    "somebody else's": ({}, seen(ours(workspace_id="other")), UNTAGGED),
    "unknown instance": ({"instance_id": INSTANCE}, seen(ours(instance_id=OTHER)), f"EC2 knows no instance {INSTANCE} in this account and region"),
    "unknown instance, engine asked": (
        {"instance_id": INSTANCE}, BOTH_ASKED, f"{ABSENT}, and EC2 knows no instance {INSTANCE} in this account and region",
    ),
    "given and complete, but the whole fleet was seen": (
        {"instance_id": INSTANCE, "runtime": "x", "config_dir": "/d"}, EVERYWHERE, f"EC2 knows no instance {INSTANCE} in this account and region",
    ),
    "given instance is another workspace's": (
        {"instance_id": INSTANCE}, seen(ours(workspace_id="other"), containers={}),
        f"{ABSENT}, and instance {INSTANCE} is tagged as workspace other; correct instance_id or workspace_id",
    ),
    "given instance is a tenant's": (
        {"instance_id": INSTANCE}, seen(ours(role="tenant")), f"instance {INSTANCE} is tagged Role=tenant, it is no workspace; correct instance_id",
    ),
    "two live instances": (
        {}, seen(ours(), ours(instance_id=OTHER, state="pending"), containers={}),
        f"{ABSENT}, and it is ambiguous which EC2 instance is the workspace, {INSTANCE} and {OTHER} are tagged with its id; give instance_id",
    ),
    "stopped": ({}, seen(ours(state="stopped"), containers={}), f"{ABSENT}, and its EC2 instance {INSTANCE} is stopped"),
    "the one that comes instead of the one that goes": (
        {}, seen(ours(state="terminated"), ours(instance_id=OTHER, state="pending")), f"its EC2 instance {OTHER} is pending",
    ),
    "all gone": (
        {}, seen(ours(state="terminated"), ours(instance_id=OTHER, state="shutting-down")),
        f"its EC2 instance {INSTANCE} is terminated and {OTHER} is shutting-down",
    ),
    "instance runs": ({}, seen(ours(), containers={SHORT: "exited"}), f"container {SHORT} is exited, and its EC2 instance is running"),
    "no tag Runtime": (
        {}, seen(ours(runtime=None)), f"instance {INSTANCE} has no tag Runtime, so its config dir is unknown; give runtime or config_dir",
    ),
}


@pytest.mark.parametrize(("given", "evidence", "reason"), REASONS.values(), ids=REASONS)
def test_the_reason_says_what_was_seen_and_what_to_do(given: dict[str, t.Any], evidence: dict[str, t.Any], reason: str) -> None:
    assert backend.decide(backend.Workspace(ID, **given), backend.Evidence(**evidence), backend.Settings()).reason == reason


def fact(given: dict[str, t.Any], evidence: dict[str, t.Any]) -> dict[str, t.Any]:
    answer = backend.decide(backend.Workspace(ID, **given), backend.Evidence(**evidence), backend.Settings())
    return dataclasses.replace(answer, looked_up_at=1700000000).fact({"ansible_host": "x"}, {"docker_host": "tcp://h:2376"})


NOTHING: dict[str, t.Any] = {
    "workspace_id": ID, "runtime": "", "container": None, "instance_id": None, "config_dir": None, "runtime_config_dir": None,
    "restart": {"method": None, "container": None, "unit": None}, "stopped": None, "engine": None, "connection": {"ansible_host": "x"},
    "looked_up_at": 1700000000, "run": None, "download_hint": None,
}
ENGINE = {"docker_host": "tcp://h:2376"}
HINT = (
    f"workspace {ID} pulls its plugins itself: GET /workspaces/{ID}/plugins/<plugin name>/download on the platform and unpack the archive there; "
    "to uninstall a plugin, remove its directory there"
)
FACTS: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], dict[str, t.Any]]] = {
    "docker": (
        {"runtime": "hermes"}, {"containers": {SHORT: "running", LONG: "exited"}},
        {
            "tier": "docker", "lookup": "found", "runtime": "hermes", "container": SHORT, "config_dir": "/configs", "runtime_config_dir": "/configs",
            "restart": {"method": "docker_engine", "container": SHORT, "unit": None}, "engine": ENGINE,
        },
    ),
    "docker, runtime unknown": (
        {}, {"containers": {LONG: "running"}},
        {
            "tier": "docker", "lookup": "found", "container": LONG, "config_dir": "/configs", "runtime_config_dir": "/configs",
            "restart": {"method": "docker_engine", "container": LONG, "unit": None}, "engine": ENGINE,
        },
    ),
    "eic": (
        {}, seen(ours()),
        {
            "tier": "eic", "lookup": "found", "runtime": "hermes", "instance_id": INSTANCE, "config_dir": "/home/ubuntu/.hermes",
            "runtime_config_dir": "/configs", "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None},
        },
    ),
    "eic as a unit": (
        {"unit": "agent.service", "config_dir": "/d", "instance_id": INSTANCE}, seen(ours(runtime=None)),
        {
            "tier": "eic", "lookup": "found", "instance_id": INSTANCE, "config_dir": "/d", "runtime_config_dir": "/d",
            "restart": {"method": "ec2_host", "container": None, "unit": "agent.service"},
        },
    ),
    "eic, all given": (
        {"instance_id": INSTANCE, "runtime": "langgraph"}, {},
        {
            "tier": "eic", "lookup": "found", "runtime": "langgraph", "instance_id": INSTANCE, "config_dir": "/opt/configs", "runtime_config_dir": "/configs",
            "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None},
        },
    ),
    "eic, all given, EC2 says another runtime": (
        {"instance_id": INSTANCE, "runtime": "langgraph"}, seen(ours(), whole_fleet=True),
        {
            "tier": "eic", "lookup": "found", "runtime": "langgraph", "instance_id": INSTANCE, "config_dir": "/opt/configs", "runtime_config_dir": "/configs",
            "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None},
        },
    ),
    "eic, config dir given, EC2 not asked": (
        {"instance_id": INSTANCE, "config_dir": "/d"}, {},
        {
            "tier": "eic", "lookup": "found", "instance_id": INSTANCE, "config_dir": "/d", "runtime_config_dir": "/configs",
            "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None},
        },
    ),
    "eic, config dir given, EC2 failed": (
        {"instance_id": INSTANCE, "config_dir": "/d"}, EC2_FAILED,
        {
            "tier": "eic", "lookup": "found", "instance_id": INSTANCE, "config_dir": "/d", "runtime_config_dir": "/configs",
            "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None},
        },
    ),
    "external": ({}, seen(ours(runtime="external")), {"tier": "external", "lookup": "found", "runtime": "external", "download_hint": HINT}),
    "nothing there": ({"runtime": "hermes"}, BOTH_ASKED, {"tier": "none", "lookup": "not_found", "runtime": "hermes"}),
    "cannot tell": ({"runtime": "hermes"}, {"engine_failure": "the engine is silent"}, {"tier": "none", "lookup": "failed", "runtime": "hermes"}),
    "its container is down": (
        {}, {"containers": {SHORT: "exited"}},
        {"tier": "none", "lookup": "not_found", "stopped": {"container": SHORT, "config_dir": "/configs"}, "engine": ENGINE},
    ),
    "its container is down, config dir given": (
        {"config_dir": "/d"}, {"containers": {LONG: "dead"}},
        {"tier": "none", "lookup": "not_found", "stopped": {"container": LONG, "config_dir": "/d"}, "engine": ENGINE},
    ),
    "two containers are down": ({}, {"containers": {SHORT: "exited", LONG: "dead"}}, {"tier": "none", "lookup": "not_found"}),
    "a container that never ran": ({}, {"containers": {SHORT: "created"}}, {"tier": "none", "lookup": "not_found"}),
}


@pytest.mark.parametrize(("given", "evidence", "expected"), FACTS.values(), ids=FACTS)
def test_the_fact_holds_all_that_the_next_task_reads(given: dict[str, t.Any], evidence: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    found = fact(given, evidence)
    assert found.pop("reason")
    assert found == {**NOTHING, **expected}


def test_the_private_address_is_the_instances() -> None:
    """The connection is made from it."""
    answer = backend.decide(backend.Workspace(ID), backend.Evidence(instances=[OURS]), backend.Settings())
    assert (answer.private_address, answer.workspace) == ("10.0.1.17", backend.Workspace(ID))


def test_the_sentences_name_what_their_reader_can_change() -> None:
    """An inventory has other words for the same settings than a module."""
    advice = backend.Advice("stop asking engines", "ask the engine", "stop asking EC2", "EC2 was not asked")
    settings = backend.Settings(advice=advice)

    def reason(given: dict[str, t.Any], **evidence: t.Any) -> str:
        return backend.decide(backend.Workspace(ID, **given), backend.Evidence(**evidence), settings).reason

    assert reason({}, engine_failure="silent") == "silent; stop asking engines"
    assert reason({"container": "agent"}) == "the workspace is container agent, but ask the engine"
    assert reason({}, ec2_failure="silent") == "silent; stop asking EC2"
    assert "EC2 was not asked" in reason({"instance_id": INSTANCE})


def test_names_of_the_container_in_the_order_in_which_they_are_tried() -> None:
    """The operator's, the stored one, the platform's; each once."""
    names = backend.container_names(backend.Workspace(ID, container=SHORT, instance_id=STORED))
    assert names == [SHORT, STORED, LONG]
    assert backend.container_names(backend.Workspace("short")) == ["ws-short"]
    assert backend.container_in_instance_id(backend.Workspace(ID, instance_id=INSTANCE)) is None
    assert backend.container_in_instance_id(backend.Workspace(ID, instance_id="mol-ws-" + "a" * 121)) is None
