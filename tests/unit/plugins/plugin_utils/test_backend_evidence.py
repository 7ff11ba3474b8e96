# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lookup of many workspaces costs, and that a lookup that fails leaves the others' answers alone."""
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session, backend, backend_evidence, docker_engine
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.ec2_instances import Instance
from fake_engine import FakeEngine

pytest.importorskip("docker")
pytest.importorskip("botocore")

AWS = aws_session.AwsOptions(region="us-east-2", access_key="AKIDEXAMPLE", secret_key="not-a-real-secret")
DOWN = docker_engine.EngineOptions(docker_host="tcp://127.0.0.1:1", timeout=2)


class Ec2:
    """Stands in for the client: answers both queries from a list and keeps the questions."""

    def __init__(self, instances: list[Instance]) -> None:
        self.instances = instances
        self.questions: list[tuple[str, list[str]]] = []
        self.failures: list[aws_session.AwsError] = []

    def ask(self, field: str, values: t.Sequence[str]) -> list[Instance]:
        if values:
            self.questions.append((field, list(values)))
        for failure in self.failures:
            raise failure
        return [instance for instance in self.instances if getattr(instance, field) in values]


@pytest.fixture(name="ec2")
def fixture_ec2(monkeypatch: pytest.MonkeyPatch) -> Ec2:
    """EC2 with fifty tagged instances."""
    ec2 = Ec2([Instance(f"i-{number:017x}", "running", f"cloud-{number}", "hermes", "workspace", f"10.0.0.{number}") for number in range(50)])
    monkeypatch.setattr(backend_evidence.ec2_instances, "find_by_workspace_ids", lambda client, values: ec2.ask("workspace_id", values))
    monkeypatch.setattr(backend_evidence.ec2_instances, "find_by_instance_ids", lambda client, values: ec2.ask("instance_id", values))
    return ec2


@pytest.fixture(name="engine")
def fixture_engine() -> t.Iterator[FakeEngine]:
    """An engine with fifty running containers."""
    with FakeEngine({f"ws-local-{number}": "running" for number in range(50)}) as engine:
        yield engine


def find(workspaces: list[backend.Workspace], docker_host: str, **settings: t.Any) -> list[backend.Backend]:
    """One call."""
    return backend_evidence.find_backends(workspaces, backend.Settings(**settings), docker_engine.EngineOptions(docker_host=docker_host, timeout=5), AWS)


def test_a_hundred_workspaces_cost_one_listing_and_one_query(engine: FakeEngine, ec2: Ec2) -> None:
    """Fifty in containers, fifty on EC2."""
    workspaces = [backend.Workspace(f"{kind}-{number}") for number in range(50) for kind in ("local", "cloud")]
    answers = find(workspaces, engine.url)
    assert [answer.tier for answer in answers] == ["docker", "eic"] * 50
    assert [answer.workspace for answer in answers] == workspaces
    assert engine.requests == ["GET /v1.41/containers/json"]
    assert ec2.questions == [("workspace_id", [f"cloud-{number}" for number in range(50)])]
    assert answers[3].private_address == "10.0.0.1"


def test_given_instances_without_a_runtime_are_a_second_query(engine: FakeEngine, ec2: Ec2) -> None:
    """And an instance that both queries find is one instance, not an ambiguity."""
    workspaces = [backend.Workspace("cloud-1"), backend.Workspace("cloud-2", instance_id=f"i-{2:017x}"), backend.Workspace("x", instance_id=f"i-{1:017x}")]
    answers = find(workspaces, engine.url)
    assert [(answer.tier, answer.lookup) for answer in answers] == [("eic", "found"), ("eic", "found"), ("none", "failed")]
    assert ec2.questions == [("workspace_id", ["cloud-1"]), ("instance_id", [f"i-{2:017x}", f"i-{1:017x}"])]


def test_what_nobody_needs_is_not_asked(engine: FakeEngine, ec2: Ec2) -> None:
    """External ones ask nothing; with a container, or with instance id and runtime, EC2 is not asked."""
    find([backend.Workspace("x", runtime="external")], engine.url)
    assert engine.requests == []
    find([backend.Workspace("local-1"), backend.Workspace("y", instance_id=f"i-{1:017x}", runtime="hermes")], engine.url)
    assert ec2.questions == []
    find([backend.Workspace("cloud-1")], "tcp://127.0.0.1:1", docker=False)
    assert ec2.questions == [("workspace_id", ["cloud-1"])]


def test_engine_down(ec2: Ec2) -> None:
    """Nobody gets another tier, EC2 is not even asked, and external workspaces stay external."""
    workspaces = [backend.Workspace("cloud-1"), backend.Workspace("y", instance_id=f"i-{1:017x}", runtime="hermes"), backend.Workspace("z", runtime="external")]
    answers = find(workspaces, DOWN.docker_host)
    assert [(answer.tier, answer.lookup) for answer in answers] == [("none", "failed"), ("none", "failed"), ("external", "found")]
    assert "lookups to [ec2]" in answers[0].reason
    assert ec2.questions == []


@pytest.mark.parametrize("status", [404, 500])
def test_engine_answers_with_an_error(engine: FakeEngine, ec2: Ec2, status: int) -> None:
    """An engine that cannot list is unknown, not empty."""
    engine.failure = (status, "page not found")
    assert [(answer.tier, answer.lookup) for answer in find([backend.Workspace("local-1")], engine.url)] == [("none", "failed")]


def test_ec2_down(engine: FakeEngine, ec2: Ec2) -> None:
    """Containers keep their tier; the rest is unknown with the reason."""
    ec2.failures.append(aws_session.AwsError("cannot look up EC2 instances in us-east-2: AWS answers AuthFailure"))
    answers = find([backend.Workspace("local-1"), backend.Workspace("cloud-1")], engine.url)
    assert [(answer.tier, answer.lookup) for answer in answers] == [("docker", "found"), ("none", "failed")]
    assert "AuthFailure" in answers[1].reason


def test_options_that_cannot_work_are_refused(engine: FakeEngine) -> None:
    """They are the user's mistake, not a lookup that failed."""
    with pytest.raises(InvalidInputError, match="both access_key and secret_key"):
        backend_evidence.find_backends(
            [backend.Workspace("cloud-1")], backend.Settings(docker=False), docker_engine.EngineOptions(), aws_session.AwsOptions(access_key="A")
        )


def test_names_in_the_listing() -> None:
    """A link's alias of another container is not its name."""
    listing = [{"Names": ["/ws-a", "/other/ws-b"], "State": "running"}, {"Names": None, "State": "removing"}, {"Names": ["/ws-c"], "State": "paused"}]
    assert backend_evidence.by_name(listing, "State") == {"ws-a": "running", "ws-c": "paused"}


@pytest.mark.parametrize(
    ("statuses", "tier", "waited"),
    [
        (["Exited (137) Less than a second ago", "Exited (137) 1 second ago", "Up Less than a second"], "docker", 2),
        (["Exited (0) 4 seconds ago", "Exited (0) 5 seconds ago", "Exited (0) 6 seconds ago"], "none", 2),
        (["Exited (0) 50 seconds ago"], "none", 0),
        (["Exited (1) 3 days ago"], "none", 0),
        (["Exited (1) 1 second ago"] * 9, "none", 5),
        (["Up 3 seconds"], "docker", 0),
    ],
)
def test_a_container_that_somebody_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch, statuses: list[str], tier: str, waited: int) -> None:
    answers, slept = iter(statuses), []

    def listing(_options: docker_engine.EngineOptions) -> list[dict[str, t.Any]]:
        status = next(answers)
        stopped = {"Names": ["/ws-other"], "State": "exited", "Status": "Exited (0) 1 second ago"}  # of nobody who was asked about
        return [stopped, {"Names": ["/ws-a"], "State": "running" if status.startswith("Up") else "exited", "Status": status}]

    monkeypatch.setattr(docker_engine, "all_containers", listing)
    monkeypatch.setattr(backend_evidence.time, "sleep", slept.append)
    (found,) = find([backend.Workspace("a")], "unix:///none", ec2=False)
    assert (found.tier, sum(slept)) == (tier, waited)
