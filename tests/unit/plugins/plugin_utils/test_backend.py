# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of the tier ladder, and what a failed lookup must never become."""
from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import backend
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.ec2_instances import Instance

ID = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"
SHORT = "ws-3f2b8c1e-9a4"
LONG = f"ws-{ID}"
INSTANCE = "i-0123456789abcdef0"
OTHER_INSTANCE = "i-0fedcba9876543210"
STORED = "mol-ws-reviewer-0a1b2c"
ENGINE_DOWN = "cannot connect: no Docker engine answers at unix:///var/run/docker.sock (Connection refused)"
EC2_DOWN = "cannot look up EC2 instances in us-east-2: AWS answers AuthFailure"


def tagged(instance_id: str = INSTANCE, state: str = "running", runtime: str | None = "claude-code", **others: t.Any) -> Instance:
    """An instance with the platform's tags."""
    return Instance(instance_id, state, **{"workspace_id": ID, "runtime": runtime, "role": "workspace", "private_address": "10.0.1.17", **others})


def climb(given: dict[str, t.Any], evidence: dict[str, t.Any], settings: dict[str, t.Any] | None = None) -> backend.Backend:
    """One decision; lookups that the case does not mention answered with nothing."""
    seen: dict[str, t.Any] = dict(evidence)
    if "engine_failure" not in seen:
        seen.setdefault("containers", {})
    if "ec2_failure" not in seen:
        seen.setdefault("instances", [])
    return backend.decide(backend.Workspace(ID, **given), backend.Evidence(**seen), backend.Settings(**(settings or {})))


LADDER = {
    # rung 1: an external-like runtime wins over everything
    "external runtime": ({"runtime": "external"}, {}, "external", "found"),
    "external runtime, case and blanks": ({"runtime": " External "}, {}, "external", "found"),
    "external runtime with an instance id": ({"runtime": "external", "instance_id": INSTANCE}, {"instances": [tagged()]}, "external", "found"),
    "external runtime with a running container": ({"runtime": "external"}, {"containers": {SHORT: "running"}}, "external", "found"),
    "external runtime with every lookup failed": ({"runtime": "external"}, {"engine_failure": ENGINE_DOWN, "ec2_failure": EC2_DOWN}, "external", "found"),
    "external runtime by tag": ({}, {"instances": [tagged(runtime="external")]}, "external", "found"),
    # rung 2: a running container
    "short container name": ({}, {"containers": {SHORT: "running"}}, "docker", "found"),
    "long container name": ({}, {"containers": {LONG: "running"}}, "docker", "found"),
    "explicit container": ({"container": "agent"}, {"containers": {"agent": "running"}}, "docker", "found"),
    "container name stored as instance id": ({"instance_id": STORED}, {"containers": {STORED: "running"}}, "docker", "found"),
    "container wins over an instance id": ({"instance_id": INSTANCE}, {"containers": {SHORT: "running"}}, "docker", "found"),
    "container found although EC2 is down": ({}, {"containers": {SHORT: "running"}, "ec2_failure": EC2_DOWN}, "docker", "found"),
    "running long name beside a stopped short name": ({}, {"containers": {SHORT: "exited", LONG: "running"}}, "docker", "found"),
    # rung 3: an EC2 instance
    "instance id and runtime given": ({"instance_id": INSTANCE, "runtime": "hermes"}, {}, "eic", "found"),
    "instance id and an empty runtime given": ({"instance_id": INSTANCE, "runtime": ""}, {}, "eic", "found"),
    "instance id given, runtime by tag": ({"instance_id": INSTANCE}, {"instances": [tagged(runtime="hermes")]}, "eic", "found"),
    "untagged instance, config dir given": ({"instance_id": INSTANCE, "config_dir": "/d"}, {"instances": [Instance(INSTANCE, "running")]}, "eic", "found"),
    "instance by tag": ({}, {"instances": [tagged()]}, "eic", "found"),
    "instance beside a stopped container": ({}, {"containers": {SHORT: "exited"}, "instances": [tagged()]}, "eic", "found"),
    "new instance beside the terminated one": ({}, {"instances": [tagged(OTHER_INSTANCE, "terminated"), tagged()]}, "eic", "found"),
    "EC2 down, instance id and config dir given": ({"instance_id": INSTANCE, "config_dir": "/data"}, {"ec2_failure": EC2_DOWN}, "eic", "found"),
    # rung 4: looked, and nothing is there that can be reached
    "nothing anywhere": ({}, {}, "none", "not_found"),
    "stopped container": ({}, {"containers": {SHORT: "exited"}}, "none", "not_found"),
    "created container": ({}, {"containers": {SHORT: "created"}}, "none", "not_found"),
    "paused container": ({}, {"containers": {SHORT: "paused"}, "instances": [tagged()]}, "none", "not_found"),
    "restarting container": ({"instance_id": INSTANCE}, {"containers": {SHORT: "restarting"}}, "none", "not_found"),
    "stored container name, not there": ({"instance_id": STORED}, {"instances": [tagged()]}, "none", "not_found"),
    "stored container name, stopped": ({"instance_id": STORED}, {"containers": {STORED: "exited"}}, "none", "not_found"),
    "instance unknown to EC2": ({"instance_id": INSTANCE}, {}, "none", "not_found"),
    "instance stopped": ({}, {"instances": [tagged(state="stopped")]}, "none", "not_found"),
    "given instance terminated": ({"instance_id": INSTANCE}, {"instances": [tagged(state="terminated")]}, "none", "not_found"),
    "instance pending": ({}, {"instances": [tagged(state="pending")]}, "none", "not_found"),
    "replaced by a platform restart": ({}, {"instances": [tagged(state="shutting-down"), tagged(OTHER_INSTANCE, "pending")]}, "none", "not_found"),
    "instance id too short": ({"instance_id": "i-1234567", "runtime": "hermes"}, {}, "none", "not_found"),
    "instance id in capitals": ({"instance_id": "I-0123456789ABCDEF0", "runtime": "hermes"}, {}, "none", "not_found"),
    "instance id with a newline": ({"instance_id": f"{INSTANCE}\n", "runtime": "hermes"}, {}, "none", "not_found"),
    "tagged instance of another workspace": ({}, {"instances": [tagged(workspace_id="other")]}, "none", "not_found"),
    "tenant instance with the workspace's id": ({}, {"instances": [tagged(role="tenant")]}, "none", "not_found"),
    # rung 4: could not look, or cannot tell
    "engine down": ({}, {"engine_failure": ENGINE_DOWN}, "none", "failed"),
    "engine down with a given instance": ({"instance_id": INSTANCE, "runtime": "hermes"}, {"engine_failure": ENGINE_DOWN}, "none", "failed"),
    "engine down with a stored container name": ({"instance_id": STORED}, {"engine_failure": ENGINE_DOWN}, "none", "failed"),
    "EC2 down": ({}, {"ec2_failure": EC2_DOWN}, "none", "failed"),
    "EC2 down, so the runtime is unknown": ({"instance_id": INSTANCE}, {"ec2_failure": EC2_DOWN}, "none", "failed"),
    "instance without a Runtime tag": ({}, {"instances": [tagged(runtime=None)]}, "none", "failed"),
    "given instance without tags": ({"instance_id": INSTANCE}, {"instances": [Instance(INSTANCE, "running")]}, "none", "failed"),
    "two running containers": ({}, {"containers": {SHORT: "running", LONG: "running"}}, "none", "failed"),
    "two live instances": ({}, {"instances": [tagged(), tagged(OTHER_INSTANCE)]}, "none", "failed"),
    "a running and a pending instance": ({}, {"instances": [tagged(), tagged(OTHER_INSTANCE, "pending")]}, "none", "failed"),
    "given instance of another workspace": ({"instance_id": INSTANCE}, {"instances": [tagged(workspace_id="other")]}, "none", "failed"),
    "given instance of a tenant": ({"instance_id": INSTANCE}, {"instances": [tagged(role="tenant")]}, "none", "failed"),
}


@pytest.mark.parametrize(("given", "evidence", "tier", "lookup"), LADDER.values(), ids=LADDER)
def test_ladder(given: dict[str, t.Any], evidence: dict[str, t.Any], tier: str, lookup: str) -> None:
    """The whole table: tier and lookup, and nothing to reach where there is no tier."""
    answer = climb(given, evidence)
    assert (answer.tier, answer.lookup) == (tier, lookup), answer.reason
    assert answer.reason and "\n" not in answer.reason.replace("\\n", "")
    fact = answer.fact({})
    if tier in ("none", "external"):
        assert [fact[key] for key in ("container", "instance_id", "config_dir", "runtime_config_dir")] == [None] * 4
        assert fact["restart"] == {"method": None, "container": None, "unit": None}
    assert (fact["download_hint"] is not None) == (tier == "external")


@pytest.mark.parametrize("evidence", [case[1] for case in LADDER.values()], ids=LADDER)
def test_failed_lookups_never_become_another_tier(evidence: dict[str, t.Any]) -> None:
    """Whatever was seen: had the engine failed, only an external runtime keeps a tier."""
    for given in ({}, {"instance_id": INSTANCE}, {"instance_id": STORED}, {"instance_id": INSTANCE, "runtime": "hermes", "config_dir": "/data"}):
        seen = {**evidence, "containers": None, "engine_failure": ENGINE_DOWN}
        answer = climb(given, seen)
        assert (answer.tier, answer.lookup) == ("none", "failed")
        assert ENGINE_DOWN in answer.reason and "lookups to [ec2]" in answer.reason


@pytest.mark.parametrize(
    ("runtime", "config_dir"),
    [
        ("claude-code", "/configs"),
        ("hermes", "/home/ubuntu/.hermes"),
        (" Hermes\t", "/home/ubuntu/.hermes"),
        ("langgraph", "/opt/configs"),
        ("LANGGRAPH", "/opt/configs"),
        ("", "/configs"),
        ("unheard-of", "/configs"),
    ],
)
def test_plugin_path_by_runtime_on_eic(runtime: str, config_dir: str) -> None:
    """claude-code, empty and unknown runtimes have /configs, whether the runtime is given or tagged; in its container it is always /configs."""
    for given, evidence in (({"instance_id": INSTANCE, "runtime": runtime}, {}), ({}, {"instances": [tagged(runtime=runtime)]})):
        answer = climb(given, evidence)
        assert (answer.tier, answer.config_dir, answer.runtime_config_dir) == ("eic", config_dir, "/configs")


@pytest.mark.parametrize("runtime", ["hermes", "langgraph", None])
def test_config_dir_in_a_container_does_not_depend_on_the_runtime(runtime: str | None) -> None:
    """The volume is mounted at /configs for every runtime."""
    answer = climb({"runtime": runtime}, {"containers": {SHORT: "running"}})
    assert (answer.config_dir, answer.runtime_config_dir) == ("/configs", "/configs")


def test_given_config_dir_wins() -> None:
    """On both tiers; in its own container on an EC2 host the runtime still sees /configs."""
    in_container = climb({"config_dir": "/data"}, {"containers": {SHORT: "running"}})
    assert (in_container.config_dir, in_container.runtime_config_dir) == ("/data", "/data")
    on_host = climb({"config_dir": "/data", "runtime": "hermes", "instance_id": INSTANCE}, {})
    assert (on_host.config_dir, on_host.runtime_config_dir) == ("/data", "/configs")


def test_runtime_map_is_an_option() -> None:
    """It replaces the default map, and is matched without case and blanks."""
    settings = {"runtime_config_dirs": {"Codex ": "/srv/codex"}}
    assert climb({"instance_id": INSTANCE, "runtime": "codex"}, {}, settings).config_dir == "/srv/codex"
    assert climb({"instance_id": INSTANCE, "runtime": "hermes"}, {}, settings).config_dir == "/configs"


def test_external_runtimes_are_an_option() -> None:
    """The set is configurable; an empty one has no external workspaces, and an empty runtime is never external."""
    assert climb({"runtime": "a2a-remote"}, {}, {"external_runtimes": ["external", "A2A-Remote"]}).tier == "external"
    assert climb({"runtime": "external", "instance_id": INSTANCE}, {}, {"external_runtimes": []}).tier == "eic"
    assert climb({"runtime": "", "instance_id": INSTANCE}, {}, {"external_runtimes": [""]}).tier == "eic"


def test_explicit_container_wins_over_a_second_running_one() -> None:
    """The operator's word first, then the platform's."""
    both = {"containers": {SHORT: "running", LONG: "running", STORED: "running", "agent": "running"}}
    assert climb({"container": LONG}, both).container == LONG
    assert climb({"instance_id": STORED}, both).container == STORED
    assert climb({"instance_id": STORED, "container": "agent"}, both).container == "agent"


def test_restart_targets() -> None:
    """The container on its engine; on an EC2 host the runtime's container, or the unit where one is given."""
    engine = {"docker_host": "tcp://h:2376", "validate_certs": True}
    in_container = climb({}, {"containers": {SHORT: "running"}}).fact({}, engine)
    assert in_container["engine"] == engine
    assert in_container["restart"] == {"method": "docker_engine", "container": SHORT, "unit": None}
    on_host = climb({"instance_id": INSTANCE, "runtime": "x"}, {}).fact({}, engine)
    assert on_host["engine"] is None
    assert on_host["restart"] == {"method": "ec2_host", "container": "molecule-workspace", "unit": None}
    renamed = climb({"instance_id": INSTANCE, "runtime": "x", "runtime_container": "agent"}, {}).fact({})
    assert renamed["restart"]["container"] == "agent"
    bare = climb({"instance_id": INSTANCE, "runtime": "hermes", "unit": "hermes.service"}, {}).fact({})
    assert bare["restart"] == {"method": "ec2_host", "container": None, "unit": "hermes.service"}
    assert bare["runtime_config_dir"] == "/home/ubuntu/.hermes"


def test_reasons_name_what_was_seen() -> None:
    """A person must be able to act on them."""
    assert f"container {SHORT} is exited" in climb({}, {"containers": {SHORT: "exited"}}).reason
    assert "unpause" in climb({}, {"containers": {SHORT: "paused"}}).reason
    assert f"{INSTANCE} is stopped" in climb({}, {"instances": [tagged(state="stopped")]}).reason
    two = climb({}, {"instances": [tagged(), tagged(OTHER_INSTANCE)]}).reason
    assert "ambiguous" in two and INSTANCE in two and OTHER_INSTANCE in two
    assert "ambiguous" in climb({}, {"containers": {SHORT: "running", LONG: "running"}}).reason
    assert EC2_DOWN in climb({}, {"ec2_failure": EC2_DOWN}).reason
    assert SHORT in climb({}, {}).reason and LONG in climb({}, {}).reason


NOT_ASKED = {
    "no engine, instance given": ({"docker": False, "ec2": False}, {"instance_id": INSTANCE, "runtime": "hermes"}, "eic", "found"),
    "no engine, but a container is named": ({"docker": False}, {"container": "agent"}, "none", "failed"),
    "no engine, but a container is stored": ({"docker": False}, {"instance_id": STORED}, "none", "failed"),
    "nothing asked, nothing given": ({"docker": False, "ec2": False}, {}, "none", "not_found"),
    "no EC2, runtime unknown": ({"docker": False, "ec2": False}, {"instance_id": INSTANCE}, "none", "failed"),
    "no EC2, config dir given": ({"docker": False, "ec2": False}, {"instance_id": INSTANCE, "config_dir": "/data"}, "eic", "found"),
}


@pytest.mark.parametrize(("settings", "given", "tier", "lookup"), NOT_ASKED.values(), ids=NOT_ASKED)
def test_what_is_not_asked_is_not_known(settings: dict[str, bool], given: dict[str, t.Any], tier: str, lookup: str) -> None:
    """Lookups that the user switched off say nothing, and nothing is guessed instead."""
    answer = backend.decide(backend.Workspace(ID, **given), backend.Evidence(), backend.Settings(**settings))
    assert (answer.tier, answer.lookup) == (tier, lookup), answer.reason


def test_only_needed_lookups_are_wanted() -> None:
    """The engine for everything that is not external; EC2 for what no container and no given value answers."""
    settings = backend.Settings()
    nothing, running = backend.Evidence(containers={}), backend.Evidence(containers={SHORT: "running"})
    plain = backend.Workspace(ID)
    complete = dataclasses.replace(plain, instance_id=INSTANCE, runtime="hermes")
    external = dataclasses.replace(plain, runtime="external")
    assert backend.wants_engine(plain, settings) and backend.wants_engine(complete, settings) and not backend.wants_engine(external, settings)
    assert not backend.wants_engine(plain, backend.Settings(docker=False))
    assert backend.wants_ec2(plain, nothing, settings) == "tag"
    assert backend.wants_ec2(dataclasses.replace(plain, instance_id=INSTANCE), nothing, settings) == "instance_id"
    for workspace, evidence in ((plain, running), (complete, nothing), (external, nothing), (dataclasses.replace(plain, instance_id=STORED), nothing)):
        assert backend.wants_ec2(workspace, evidence, settings) is None
    assert backend.wants_ec2(plain, backend.Evidence(engine_failure=ENGINE_DOWN), settings) is None
    assert backend.wants_ec2(plain, nothing, backend.Settings(ec2=False)) is None
