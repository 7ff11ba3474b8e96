# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of sources, what each source makes of an answer, and the order of the questions."""
from __future__ import annotations

import pathlib
import typing as t
from unittest import mock

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import (
    aws_session,
    ec2_instances,
    fleet_docker,
    fleet_ec2,
    fleet_file,
    fleet_platform,
    fleet_sources,
)
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.fleet_records import Answer, Record
from fake_engine import FakeEngine
from test_platform_api import Server

SECRET = "not-a-real-secret"
A = "3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b"
I1, I2 = "i-0123456789abcdef0", "i-0123456789abcdef1"


@pytest.fixture(autouse=True)
def fixture_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "AWS_PROFILE", "AWS_CA_BUNDLE", "MOLECULE_API_URL", "MOLECULE_API_TOKEN", "MOLECULE_API_KEY",
                 "MOLECULE_ORG_ID", "MOLECULE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_environment_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What AWX injects is found, an option counts before it, and an empty option does not count."""
    monkeypatch.setenv("MOLECULE_API_URL", "https://a.example")
    monkeypatch.setenv("MOLECULE_API_KEY", SECRET)
    monkeypatch.setenv("MOLECULE_DATABASE_URL", "dbname=x")
    sources = fleet_sources.from_options([
        {"type": "platform", "platform_org_id": ""}, {"type": "docker"}, {"type": "docker", "docker_url": "tcp://x:1"}, {"type": "database", "timeout": "5"},
        {"type": "docker", "name": "rack"}, {"type": "ec2", "region": ["a", "b"]},
    ])
    assert [source.name for source in sources] == ["platform", "docker", "docker_2", "database", "rack", "ec2"]
    assert sources[0].parameters["platform_url"] == "https://a.example" and sources[0].parameters["platform_token"] == SECRET
    assert not sources[0].parameters.get("platform_org_id")
    assert sources[2].parameters["docker_host"] == "tcp://x:1" and sources[3].parameters["timeout"] == 5 and sources[5].parameters["regions"] == ["a", "b"]
    assert SECRET not in repr(sources)


REFUSED = {
    "nothing": ([], "no sources"),
    "no dictionary": (["docker"], "source 1 of the inventory has no type"),
    "unknown type": ([{"type": "docker"}, {"type": "gcp"}], "source 2"),
    "unknown option": ([{"type": "docker", "regions": ["x"]}], "regions"),
    "twice": ([{"type": "docker", "name": "a"}, {"type": "file", "path": "x", "name": "a"}], "'a'"),
    "a file without path": ([{"type": "file"}], "path"),
    "a number that is none": ([{"type": "database", "timeout": "soon", "dsn": SECRET}], "timeout"),
}


@pytest.mark.parametrize(("entries", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(entries: list[t.Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        fleet_sources.from_options(entries)
    assert message in str(caught.value) and SECRET not in str(caught.value)


class Configuration(t.NamedTuple):
    """What tells a configuration apart: one source, the environment, where the configuration is."""

    source: dict[str, t.Any]
    environment: dict[str, str] = {}
    path: str = "/fleet/workspaces.yml"


URI, KEYWORDS = "postgresql://ops:one@db.example:5433/molecule", "host=db.example port=5433 dbname=molecule user=ops password=two"
DATABASE, EC2 = {"type": "database", "dsn": URI}, {"type": "ec2", "profile": "p"}
PLATFORM = {"type": "platform", "platform_url": "https://a", "platform_token": "a"}
KEYS = {"type": "ec2", "access_key": "AKIA1", "secret_key": "a"}
OTHER = {
    "url": (Configuration(PLATFORM), Configuration({**PLATFORM, "platform_url": "https://b"})),
    "organisation": (Configuration(PLATFORM), Configuration({**PLATFORM, "platform_org_id": "b"})),
    "organisation from the environment": (Configuration(PLATFORM), Configuration(PLATFORM, {"MOLECULE_ORG_ID": "b"})),
    "token, whose organisation may be another": (Configuration(PLATFORM), Configuration({**PLATFORM, "platform_token": "b"})),
    "dsn": (Configuration(DATABASE), Configuration({"type": "database", "dsn": KEYWORDS.replace("molecule", "other")})),
    "dsn from the environment": (Configuration(DATABASE), Configuration({"type": "database"}, {"MOLECULE_DATABASE_URL": URI.replace("5433", "5434")})),
    "user": (Configuration(DATABASE), Configuration({**DATABASE, "dsn": URI.replace("ops", "dev")})),
    "one of two servers": (Configuration(DATABASE), Configuration({**DATABASE, "dsn": URI.replace("db.example:5433", "db.example:5433,db2.example:5433")})),
    "search path": (Configuration(DATABASE), Configuration({**DATABASE, "dsn": f"{KEYWORDS} options='-c search_path=staging'"})),
    "service": (Configuration({"type": "database", "dsn": "service=one"}), Configuration({"type": "database", "dsn": "service=two"})),
    "service from the environment": (Configuration({"type": "database", "dsn": ""}), Configuration({"type": "database", "dsn": ""}, {"PGSERVICE": "two"})),
    "service file": (
        Configuration({"type": "database", "dsn": "service=one"}), Configuration({"type": "database", "dsn": "service=one"}, {"PGSERVICEFILE": "/x"})),
    "host from the environment": (
        Configuration({"type": "database", "dsn": "dbname=x"}), Configuration({"type": "database", "dsn": "dbname=x"}, {"PGHOST": "db2.example"})),
    "table": (Configuration(DATABASE), Configuration({**DATABASE, "table": "staging.workspaces"})),
    "profile": (Configuration(EC2), Configuration({**EC2, "profile": "q"})),
    "profile from the environment": (Configuration({"type": "ec2"}), Configuration({"type": "ec2"}, {"AWS_PROFILE": "q"})),
    "configuration of AWS": (Configuration(EC2), Configuration(EC2, {"AWS_CONFIG_FILE": "/x"})),
    "region from the environment": (Configuration(EC2), Configuration(EC2, {"AWS_REGION": "eu-west-1"})),
    "endpoint from the environment": (Configuration(EC2), Configuration(EC2, {"AWS_ENDPOINT_URL_EC2": "https://x"})),
    "regions": (Configuration(EC2), Configuration({**EC2, "regions": ["eu-west-1"]})),
    "filters": (Configuration(EC2), Configuration({**EC2, "filters": {"tag:OrgID": ["x"]}})),
    "role": (Configuration(EC2), Configuration({**EC2, "assume_role_arn": "arn:aws:iam::123456789012:role/x"})),
    "key": (Configuration(KEYS), Configuration({**KEYS, "access_key": "AKIA2"})),
    "key from the environment": (Configuration({"type": "ec2"}), Configuration({"type": "ec2"}, {"AWS_ACCESS_KEY_ID": "AKIA2"})),
    "engine": (Configuration({"type": "docker"}), Configuration({"type": "docker", "docker_host": "tcp://x:1"})),
    "engine from the environment": (Configuration({"type": "docker"}), Configuration({"type": "docker"}, {"DOCKER_HOST": "tcp://x:1"})),
    "file": (Configuration({"type": "file", "path": "a"}), Configuration({"type": "file", "path": "b"})),
    "directory": (Configuration({"type": "file", "path": "a"}), Configuration({"type": "file", "path": "a"}, path="/other/workspaces.yml")),
    "name": (Configuration(EC2), Configuration({**EC2, "name": "x"})),
}
SAME = {
    "two forms of a dsn, and two passwords": (Configuration(DATABASE), Configuration({**DATABASE, "dsn": KEYWORDS})),
    "password from the environment": (Configuration(DATABASE), Configuration(DATABASE, {"PGPASSWORD": SECRET})),
    "how the server's certificate is verified": (Configuration(DATABASE), Configuration({**DATABASE, "dsn": f"{URI}?sslmode=verify-full"})),
    "the secret of a key": (Configuration(KEYS), Configuration({**KEYS, "secret_key": "b"})),
    "an option or its environment": (Configuration(DATABASE), Configuration({"type": "database"}, {"MOLECULE_DATABASE_URL": URI})),
}


@pytest.mark.parametrize(
    ("one", "other", "same"), [*((*pair, False) for pair in OTHER.values()), *((*pair, True) for pair in SAME.values())], ids=[*OTHER, *SAME],
)
def test_a_configuration_that_would_find_another_fleet_has_another_digest(
    one: Configuration, other: Configuration, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGHOST", "PGSERVICE", "PGSERVICEFILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_CONFIG_FILE", "AWS_ENDPOINT_URL_EC2"):
        monkeypatch.delenv(name, raising=False)

    def digest(configuration: Configuration) -> str:
        with monkeypatch.context() as context:
            for name, value in configuration.environment.items():
                context.setenv(name, value)
            return fleet_sources.digest(fleet_sources.from_options([configuration.source]), configuration.path, b"salt")

    assert (digest(one) == digest(other)) is same
    assert digest(one) == digest(one), "the same configuration has the same digest"


def test_a_digest_follows_the_file_and_the_salt(tmp_path: pathlib.Path) -> None:
    """What an operator writes into the file counts at once, and a token's digest is another in each cache."""
    sources = fleet_sources.from_options([{"type": "file", "path": "known.yml"}])
    path = str(tmp_path / "workspaces.yml")
    without = fleet_sources.digest(sources, path, b"salt")
    (tmp_path / "known.yml").write_text("[]")
    written = fleet_sources.digest(sources, path, b"salt")
    (tmp_path / "known.yml").write_text("[ ]")
    assert len({without, written, fleet_sources.digest(sources, path, b"salt")}) == 3
    platform = fleet_sources.from_options([PLATFORM])
    assert fleet_sources.digest(platform, path, b"salt") != fleet_sources.digest(platform, path, b"other")


def test_a_dsn_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(InvalidInputError, match="dsn") as caught:
        fleet_sources.digest(fleet_sources.from_options([{"type": "database", "dsn": f"postgresql://ops:{SECRET}@[x"}]), "/x", b"")
    assert SECRET not in str(caught.value)


def test_places_know_neither_secrets_nor_who_asks() -> None:
    """The place of a source is where it looks: keys and tokens change, and a source that fails for that is still the same."""
    def places(**options: t.Any) -> list[str]:
        entries = [{**source, **options.get(str(source["type"]), {})} for source in (PLATFORM, KEYS, DATABASE)]
        return list(fleet_sources.places(fleet_sources.from_options(entries)).values())

    one = places()
    assert one == places(platform={"platform_token": "b"}, ec2={"access_key": "AKIA2"}, database={"dsn": KEYWORDS, "timeout": 3})
    others = places(platform={"platform_url": "https://b"}, ec2={"regions": ["x"]}, database={"table": "other"})
    assert len({*one, *others}) == 6


def test_engine() -> None:
    """Other programs' labels are no objection, another label value is."""
    listing = [{"Names": ["/ws-a"], "Id": "1f", "State": "running", "Labels": None},
               {"Names": ["/b"], "Id": "2f", "State": "exited", "Labels": {"molecule.platform.managed": "true"}},
               {"Names": ["/c"], "Id": "3f", "State": "running", "Labels": {"molecule.platform.managed": "false"}}]
    with FakeEngine({}) as engine:
        with mock.patch.object(FakeEngine, "listing", return_value=listing):
            answer = fleet_docker.ask({"docker_host": engine.url})
        assert answer.containers == {"ws-a": "running", "b": "exited"}
        assert answer.container_ids == {"ws-a": "1f", "b": "2f"}
        engine.failure = (500, "no space")
        assert "no space" in fleet_docker.ask({"docker_host": engine.url}).failure
    assert "no Docker engine answers" in fleet_docker.ask({"docker_host": engine.url, "timeout": 2}).failure


@pytest.fixture
def platform() -> t.Iterator[tuple[Server, list[float]]]:
    """A scripted platform, and the pauses that were made."""
    import threading

    pauses: list[float] = []
    with Server() as server, mock.patch("time.sleep"):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        original = fleet_platform.Platform
        with mock.patch.object(fleet_platform, "Platform", lambda options: original(options, sleep=pauses.append)):
            yield server, pauses
        server.shutdown()


def listed(server: Server, **options: t.Any) -> Answer:
    return fleet_platform.ask({"platform_url": server.url, "platform_token": SECRET, **options})


def test_platform(platform: tuple[Server, list[float]]) -> None:
    """The platform's size "tier" is not taken, its organisation is the asked one, and "busy" and "unavailable" are waited out."""
    server, pauses = platform
    server.will(429, {"error": "slow down"}, Retry_After="7").will(503, {"code": "platform_unavailable"})
    server.will(200, [{"id": A, "name": "n", "tier": 3, "status": "online", "runtime": "hermes", "parent_id": None, "url": "http://x"}])
    answer = listed(server, platform_org_id="org-1")
    assert answer.records == [Record(A, {"name": "n", "runtime": "hermes", "status": "online", "org_id": "org-1"})]
    assert pauses == [7.0, 2.0]
    path, headers = server.requests[0][1:]
    assert path == "/workspaces" and headers["authorization"] == f"Bearer {SECRET}" and headers["x-molecule-org-id"] == "org-1"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, None, "platform_org_id is not set"), (401, {"error": f"bad {SECRET}"}, "check platform_token"), (500, {"error": "x"}, "HTTP 500"),
        (200, {"workspaces": []}, "no JSON list"), (200, b"<html>", "no JSON list"), (200, ["x"], "no JSON list"), (503, {"error": "x"}, "HTTP 503"),
        (429, {"error": "x"}, "rate limit was still exceeded"),
    ],
)
def test_platform_failures(platform: tuple[Server, list[float]], status: int, body: t.Any, reason: str) -> None:
    failure = listed(platform[0].will(status, body)).failure or ""
    assert reason in failure and SECRET not in failure


def test_file() -> None:
    answer = fleet_file.read({"workspaces": [{"workspace_id": A, "unit": "hermes.service", "runtime": " x ", "name": 7, "status": None}]}, "f.yml")
    assert answer.records == [Record(A, {"unit": "hermes.service", "runtime": "x", "name": "7"})]
    assert fleet_file.read([], "f.yml").records == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "give a list"), ({"hosts": []}, "give a list"), (["a"], "give a list"), ([{"workspace_id": A, "user": "x"}], "unknown key user"),
        ([{"workspace_id": A, "runtime": ["x"]}], "runtime must be a text"), ([{"workspace_id": A}, {"workspace_id": A}], "listed twice"),
        ([{"workspace_id": A, "config_dir": "/etc"}], "config dir '/etc' is not allowed"), ([{"name": "x"}], "is not a workspace id"),
    ],
)
def test_file_refused(content: t.Any, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        fleet_file.read(content, "f.yml")
    assert str(caught.value).startswith("f.yml: ") and message in str(caught.value)


def test_ec2_regions_tags_and_claimed_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each region is asked once by tag, and only for claims that no tag led to again by id; a region that fails is named."""
    calls: list[tuple[str, t.Any]] = []

    def client(options: aws_session.AwsOptions, service: str, made: object) -> str:
        return str(options.region)

    def by_tag(region: t.Any, filters: t.Any) -> list[ec2_instances.Instance]:
        calls.append((region, filters))
        if region == "c":
            raise aws_session.AwsError("c is down")
        return [ec2_instances.Instance(I1, "running", A, "hermes", "workspace", region=region, name="n", org_id="o")] if region == "b" else []

    def by_id(region: t.Any, ids: t.Any) -> list[ec2_instances.Instance]:
        calls.append((region, list(ids)))
        return [ec2_instances.Instance(I2, "running", region=region)] if region == "a" else []

    monkeypatch.setattr(aws_session, "session", lambda options: None)
    monkeypatch.setattr(aws_session, "client", client)
    monkeypatch.setattr(ec2_instances, "find_workspaces", by_tag)
    monkeypatch.setattr(ec2_instances, "find_by_instance_ids", by_id)
    answer = fleet_ec2.ask({"regions": ["b", "c", "b"], "filters": {"tag:OrgID": 5}})
    assert answer.failure == "c is down" and sorted(calls) == [("b", {"tag:OrgID": ["5"]}), ("c", {"tag:OrgID": ["5"]})]
    assert answer.records == [Record(A, {"name": "n", "runtime": "hermes", "org_id": "o", "instance_id": I1})]
    calls.clear()
    content = [{"workspace_id": "x", "instance_id": I2}, {"workspace_id": A, "instance_id": I1}, {"workspace_id": "y", "instance_id": "mol-ws-y-1f"}]
    sources = fleet_sources.from_options([{"type": "file", "path": "f"}, {"type": "ec2", "regions": ["a", "b"]}])
    answers = fleet_sources.ask(sources, lambda path: content)
    assert [instance.instance_id for instance in answers["ec2"].instances or []] == [I1, I2]
    assert sorted(calls, key=str) == sorted([("a", {}), ("b", {}), ("a", [I2]), ("b", [I2])], key=str)


def test_answers_of_ec2_are_read_as_botocore_reads_them() -> None:
    """The same instances, and nothing of them twice, from the same document."""
    import botocore.session
    from botocore import awsrequest

    document = (pathlib.Path(__file__).parent / "describe_instances.xml").read_bytes()

    def found(direct: bool) -> list[ec2_instances.Instance]:
        client = botocore.session.Session().create_client("ec2", region_name="us-east-2", aws_access_key_id="a", aws_secret_access_key="b")
        response = awsrequest.AWSResponse("https://x", 200, {}, mock.Mock(stream=lambda: iter([document])))
        client.meta.events.register("before-send.ec2.DescribeInstances", lambda **_named: response)
        reader = ec2_instances._read_answer if direct else lambda **_named: None
        with mock.patch.object(ec2_instances, "_read_answer", reader):
            return ec2_instances.find_workspaces(client, {})

    assert found(direct=True) == found(direct=False)
    assert [(each.instance_id, each.private_address, each.runtime) for each in found(direct=True)] == [
        ("i-0a1b2c3d4e5f60001", "10.20.0.10", "hermes"), ("i-0a1b2c3d4e5f60002", "2001:db8::7", None),
    ]
