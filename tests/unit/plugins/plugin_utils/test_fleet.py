# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging what sources say, and the ladder over it: every way in which a source can be missing or disagree."""
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import backend, fleet_backends, fleet_hosts, fleet_merge
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.ec2_instances import Instance
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_records import Answer, Record
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_sources import Source

A = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"
B = "7d1e4a90-52c3-4f6b-a8e7-0b9c8d7e6f5a"
SHORT = f"ws-{A[:12]}"
I1, I2 = "i-0123456789abcdef0", "i-0123456789abcdef1"
DOWN = "it is down"
ROLE = "arn:aws:iam::123456789012:role/audit"
NOW = 1_780_000_000


def knows(workspace_id: str = A, **fields: str) -> Answer:
    return Answer(records=[Record.of(workspace_id, fields)])


def tagged(*instances: Instance, failure: str | None = None) -> Answer:
    records = [
        Record.of(each.workspace_id, {"runtime": each.runtime, "name": each.name, "instance_id": each.instance_id if len(instances) == 1 else None})
        for each in instances if each.workspace_id
    ]
    return Answer(records=records, instances=list(instances), failure=failure)


def instance(instance_id: str = I1, workspace_id: str = A, state: str = "running", **more: t.Any) -> Instance:
    return Instance(instance_id, state, workspace_id=workspace_id, runtime=more.pop("runtime", "hermes"), role="workspace", region="eu-west-1", **more)


def find(**answers: Answer) -> dict[str, fleet_backends.Located]:
    """The fleet of sources named like their type; "docker2" is a second engine."""
    kinds = {name: "docker" if name == "docker2" else name for name in answers}
    sources = [Source(name, kind, {"profile": "fleet", "assume_role_arn": ROLE} if kind == "ec2" else {}) for name, kind in kinds.items()]
    fleet = fleet_merge.merge(sources, answers)
    locator = fleet_backends.Locator(sources, answers, backend.Settings(), "ubuntu", NOW)
    return {each.workspace.workspace_id: each for each in locator.locate(fleet)}


def tier(located: fleet_backends.Located) -> tuple[str, str]:
    return located.backend.tier, located.backend.lookup


LADDER: dict[str, tuple[dict[str, Answer], tuple[str, str]]] = {
    "external wins over an instance": ({"platform": knows(runtime="external"), "ec2": tagged(instance())}, ("external", "found")),
    "external wins over a failed engine": ({"platform": knows(runtime="external"), "docker": Answer(failure=DOWN)}, ("external", "found")),
    "a container wins over an instance": ({"docker": Answer(containers={SHORT: "running"}), "ec2": tagged(instance())}, ("docker", "found")),
    "the whole id is a container's name too": ({"platform": knows(runtime="x"), "docker": Answer(containers={f"ws-{A}": "running"})}, ("docker", "found")),
    "the name that the database stores": (
        {"database": knows(runtime="x", instance_id="mol-ws-a-1f"), "docker": Answer(containers={"mol-ws-a-1f": "running"})}, ("docker", "found")),
    "by tag": ({"docker": Answer(containers={}), "ec2": tagged(instance())}, ("eic", "found")),
    "an id is believed where nobody can be asked": ({"database": knows(runtime="x", instance_id=I1)}, ("eic", "found")),
    "an id that EC2 was asked for is not": ({"database": knows(runtime="x", instance_id=I1), "ec2": Answer(instances=[])}, ("none", "not_found")),
    "an untagged instance that the database names": (
        {"database": knows(runtime="x", instance_id=I1), "ec2": Answer(instances=[Instance(I1, "running", region="eu-west-1")])}, ("eic", "found")),
    "a stranger's instance": ({"database": knows(runtime="x", instance_id=I1), "ec2": tagged(instance(workspace_id=B))}, ("none", "failed")),
    "a stopped instance": ({"ec2": tagged(instance(state="stopped"))}, ("none", "not_found")),
    "two live instances": ({"ec2": tagged(instance(I1), instance(I2))}, ("none", "failed")),
    "nothing anywhere": ({"platform": knows(runtime="x"), "docker": Answer(containers={}), "ec2": Answer(instances=[])}, ("none", "not_found")),
    "a stopped container": ({"docker": Answer(containers={SHORT: "exited"})}, ("none", "not_found")),
    "one engine of two is down, the container runs on the other": (
        {"docker": Answer(containers={SHORT: "running"}), "docker2": Answer(failure=DOWN)}, ("docker", "found")),
    "one engine of two is down, and the container is not on the other": (
        {"platform": knows(runtime="x"), "docker": Answer(containers={}), "docker2": Answer(failure=DOWN)}, ("none", "failed")),
    "an engine is down, so nothing below it counts": ({"docker": Answer(failure=DOWN), "ec2": tagged(instance())}, ("none", "failed")),
    "one container on two engines": ({"docker": Answer(containers={SHORT: "running"}), "docker2": Answer(containers={SHORT: "running"})}, ("none", "failed")),
    "running on one engine, left over on another": (
        {"docker": Answer(containers={SHORT: "exited"}), "docker2": Answer(containers={SHORT: "running"})}, ("docker", "found")),
    "EC2 is down": ({"platform": knows(runtime="x"), "ec2": Answer(failure=DOWN)}, ("none", "failed")),
    "EC2 is down, and the database's word is not enough": ({"database": knows(runtime="x", instance_id=I1), "ec2": Answer(failure=DOWN)}, ("none", "failed")),
    "a region is down, and the instance runs in another": ({"ec2": tagged(instance(), failure=DOWN)}, ("eic", "found")),
    "the platform is down, the tag says the runtime": ({"platform": Answer(failure=DOWN), "ec2": tagged(instance())}, ("eic", "found")),
    "the platform is down, and nobody knows the runtime": (
        {"platform": Answer(failure=DOWN), "docker": Answer(containers={SHORT: "running"})}, ("none", "failed")),
    "the database is down, and could know an instance": ({"platform": knows(runtime="x"), "database": Answer(failure=DOWN)}, ("none", "failed")),
}


@pytest.mark.parametrize(("answers", "expected"), LADDER.values(), ids=LADDER)
def test_ladder(answers: dict[str, Answer], expected: tuple[str, str]) -> None:
    """A workspace of whom something is unknown is none and failed, never another tier and never "not found"."""
    found = find(**answers)
    # an engine alone shows only the beginning of the id
    located = found.get(A) or found[A[:12]]
    assert tier(located) == expected
    if expected == ("none", "failed") and any(answer.failure for answer in answers.values()):
        assert DOWN in located.backend.reason
    assert located.fact["looked_up_at"] == NOW


def test_two_workspaces_with_one_short_container_name() -> None:
    """Their ids begin alike, so the container is nobody's."""
    twin = A[:-1] + "c"
    found = find(platform=Answer(records=[Record.of(A, {"runtime": "x"}), Record.of(twin, {"runtime": "x"})]), docker=Answer(containers={SHORT: "running"}))
    assert {tier(found[A]), tier(found[twin])} == {("none", "failed")} and twin in found[A].backend.reason


def test_the_first_source_is_believed_and_the_others_are_named() -> None:
    """Comparison knows no case, sources without a word are no conflict, and a name tag is only a label."""
    found = find(
        file=knows(config_dir="/srv/configs"), database=knows(runtime="Hermes", name="a", instance_id=I2), platform=knows(runtime="langgraph", name="b"),
        ec2=tagged(instance(name="label"), instance(I2, name="label")),
    )[A].workspace
    assert found.fields["runtime"] == "Hermes" and found.field_sources["runtime"] == "database" and found.field_sources["config_dir"] == "file"
    assert found.conflicts == [
        {"field": "name", "used": "a", "source": "database", "others": [{"source": "platform", "value": "b"}]},
        {"field": "runtime", "used": "Hermes", "source": "database", "others": [{"source": "platform", "value": "langgraph"}]},
    ]
    assert found.sources == ["file", "database", "platform", "ec2"]
    assert find(database=knows(instance_id=I2), ec2=tagged(instance()))[A].workspace.conflicts[0]["field"] == "instance_id"


def test_what_cannot_be_a_workspace_is_left_out_and_said() -> None:
    sources = [Source("platform", "platform", {}), Source("docker", "docker", {})]
    answers = {"platform": Answer(records=[Record.of("../x", {})]), "docker": Answer(containers={"postgres": "running", "mol-ws-a-1f": "running"})}
    fleet = fleet_merge.merge(sources, answers)
    assert not fleet.workspaces and len(fleet.remarks) == 2
    assert "'../x' cannot be a workspace id" in fleet.remarks[0] and "'mol-ws-a-1f'" in fleet.remarks[1]


def test_removed_workspaces_are_out_and_their_remains_are_said() -> None:
    sources = [Source("database", "database", {}), Source("ec2", "ec2", {})]
    fleet = fleet_merge.merge(sources, {"database": knows(status="removed"), "ec2": tagged(instance())})
    assert not fleet.workspaces and I1 in fleet.remarks[0]


def test_organisation() -> None:
    """What a source says, or else the root of the tree; a loop or a missing parent has none."""
    records = [("root", {}), ("child", {"parent_id": "root"}), ("leaf", {"parent_id": "child"}), ("lost", {"parent_id": "gone"}), ("own", {"org_id": "o"}),
               ("under", {"parent_id": "own"}), ("x", {"parent_id": "y"}), ("y", {"parent_id": "x"})]
    found = find(database=Answer(records=[Record.of(name, fields) for name, fields in records]), docker=Answer(containers={SHORT: "running"}))
    organisations = {name: located.workspace.fields.get("org_id") for name, located in found.items()}
    assert organisations == {
        "root": "root", "child": "root", "leaf": "root", "lost": None, "own": "o", "under": "o", "x": None, "y": None, A[:12]: None,
    }


def test_variables_reach_the_workspace_and_can_be_looked_up_again() -> None:
    found = find(file=knows(unit="hermes.service"), ec2=tagged(instance(private_address="10.0.0.7")))[A]
    variables = fleet_hosts.variables(found)
    assert {name: variables[name] for name in ("ansible_connection", "ansible_host", "ansible_eic_region", "ansible_eic_profile", "workspace_region")} == {
        "ansible_connection": "molecule_ai.workspace.eic", "ansible_host": I1, "ansible_eic_region": "eu-west-1", "ansible_eic_profile": "fleet",
        "workspace_region": "eu-west-1",
    }
    assert variables["workspace_unit"] == "hermes.service" and variables["workspace_backend"]["restart"]["unit"] == "hermes.service"
    assert variables["workspace_aws_assume_role_arn"] == ROLE
    assert variables["workspace_lookups"] == ["ec2"] and "workspace_instance_id" not in variables
    believed = fleet_hosts.variables(find(database=knows(runtime="x", instance_id=I1))[A])
    assert believed["workspace_instance_id"] == I1, "without an EC2 source only the id finds it again"
    nowhere = fleet_hosts.variables(find(platform=knows(runtime="x"))[A])
    assert nowhere["ansible_host"] == f"{A}.invalid" and "ansible_connection" not in nowhere


def test_groups() -> None:
    variables = {"workspace_tier": "eic", "workspace_runtime": "Claude-Code", "workspace_status": None}
    assert fleet_hosts.groups(variables, fleet_hosts.GROUP_BY) == ["tier_eic", "runtime_claude-code"]
    assert fleet_hosts.groups(variables, ["runtime"]) == ["runtime_claude-code"]


def test_host_names_are_unique_and_safe() -> None:
    """A name that two have is nobody's, and nobody takes another's id, a group's name, another host's, a pattern or the controller's name."""
    wanted = {
        "1": ["a"], "2": ["b"], "3": ["b", "c"], "4": ["localhost"], "5": ["x:y"], "6": [], "7": ["1"], "8": ["all", "8"], "9": ["web", "w"],
        "10": ["org_1"], "11": ["there"], "12": ["mine"], "13": ["status"],
    }
    names = fleet_hosts.host_names(wanted, groups={"web"}, others={"there": None, "mine": "12", "6": None})
    assert names.chosen == {
        "1": "a", "2": "2", "3": "c", "4": "4", "5": "5", "6": "6", "7": "7", "8": "8", "9": "w", "10": "10", "11": "11", "12": "mine", "13": "status",
    }
    assert names.ambiguous == ["b"] and names.refused == ["localhost", "1", "all", "web", "org_1", "there"]


@pytest.mark.parametrize(
    ("workspace_id", "groups", "others"), [("all", (), {}), ("Localhost", (), {}), ("web", ("web",), {}), ("w1", (), {"w1": "w2"})],
)
def test_an_id_that_is_no_host_name(workspace_id: str, groups: tuple[str, ...], others: dict[str, str | None]) -> None:
    with pytest.raises(InvalidInputError, match=f"workspace {workspace_id} cannot be a host"):
        fleet_hosts.host_names({workspace_id: []}, groups, others)


def test_cached_answers_are_what_they_were() -> None:
    answer = Answer(records=[Record.of(A, {"runtime": " x ", "name": ""})], containers={"a": "running"}, instances=[instance()], remarks=["r"])
    assert Answer.from_data(answer.to_data()) == answer
    assert answer.records[0].fields == {"runtime": "x"}
