# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What EC2 is asked when many hosts are looked up, and what is remembered for how long."""
from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import time
import typing as t

import botocore.session
import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_target_cache
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_target import Target, resolve
from botocore.stub import Stubber

FORK = multiprocessing.get_context("fork")
NOTHING = Target(None, None, None)
VPC_FILTERS = [{"Name": "vpc-id", "Values": ["vpc-1"]}, {"Name": "instance-state-name", "Values": ["running"]}]


@pytest.fixture(scope="module")
def ec2() -> t.Any:
    session = botocore.session.Session()
    session.set_credentials("AKID", "secret")
    return session.create_client("ec2", region_name="us-east-2")


@pytest.fixture
def stub(ec2: t.Any) -> t.Iterator[Stubber]:
    with Stubber(ec2) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "targets.json")


def _answer(*numbers: int, state: str = "running", vpc: str = "vpc-1") -> dict[str, t.Any]:
    return {"Reservations": [{"Instances": [
        {"InstanceId": f"i-{number:08x}", "State": {"Name": state}, "VpcId": vpc, "SubnetId": "subnet-1", "KeyName": "canary",
         "PrivateIpAddress": f"10.0.0.{number}"}
        for number in numbers
    ]}]}


def _endpoints(vpc: str = "vpc-1", name: str = "eice-1") -> dict[str, t.Any]:
    return {"InstanceConnectEndpoints": [
        {"InstanceConnectEndpointId": name, "DnsName": f"{name}.example", "State": "create-complete", "VpcId": vpc, "SubnetId": "subnet-1"}
    ]}


def _resolve(path: str, ec2: t.Any, number: int, lifetime: float = 300) -> Target:
    # a new object each time, as in a new worker
    return resolve(NOTHING, f"i-{number:08x}", eic_target_cache.CachedLookup(lambda: ec2, path, lifetime))


def test_two_hundred_hosts_cost_two_instance_queries_and_one_endpoint_query(path: str, stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _answer(1), {"InstanceIds": ["i-00000001"]})
    stub.add_response("describe_instance_connect_endpoints", _endpoints(), {"Filters": VPC_FILTERS[:1]})
    stub.add_response("describe_instances", _answer(*range(1, 201)), {"Filters": VPC_FILTERS, "MaxResults": 1000})
    for number in range(1, 201):
        assert _resolve(path, ec2, number) == Target(f"10.0.0.{number}", "eice-1", "eice-1.example")
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert "canary" not in pathlib.Path(path).read_text()
    assert os.listdir(os.path.dirname(path)) == ["targets.json"]


def test_a_client_is_not_even_made_for_what_is_known(path: str, stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _answer(1))
    stub.add_response("describe_instance_connect_endpoints", _endpoints())
    known = _resolve(path, ec2, 1)
    lookup = eic_target_cache.CachedLookup(lambda: pytest.fail("a client was made"), path, 300)
    assert resolve(NOTHING, "i-00000001", lookup) == known


def test_an_instance_of_another_vpc_is_asked_for_by_itself(path: str, stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _answer(1), {"InstanceIds": ["i-00000001"]})
    stub.add_response("describe_instance_connect_endpoints", _endpoints())
    stub.add_response("describe_instances", _answer(1), {"Filters": VPC_FILTERS, "MaxResults": 1000})
    stub.add_response("describe_instances", _answer(2, vpc="vpc-2"), {"InstanceIds": ["i-00000002"]})
    stub.add_response("describe_instance_connect_endpoints", _endpoints("vpc-2", "eice-2"))
    assert _resolve(path, ec2, 1).endpoint_id == "eice-1"
    assert _resolve(path, ec2, 2).endpoint_id == "eice-2"


def test_what_is_too_old_is_asked_again(path: str, stub: Stubber, ec2: t.Any) -> None:
    for _time in range(2):
        stub.add_response("describe_instances", _answer(1))
        stub.add_response("describe_instance_connect_endpoints", _endpoints())
        _resolve(path, ec2, 1, lifetime=0)


def test_an_instance_that_does_not_run_is_not_remembered(path: str, stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _answer(1, state="stopped"))
    with pytest.raises(Exception, match="is stopped"):
        _resolve(path, ec2, 1)
    stub.add_response("describe_instances", _answer(1))
    stub.add_response("describe_instance_connect_endpoints", _endpoints())
    assert _resolve(path, ec2, 1).address == "10.0.0.1"


def test_what_has_failed_is_forgotten_and_asked_for_by_itself(path: str, stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _answer(1), {"InstanceIds": ["i-00000001"]})
    stub.add_response("describe_instance_connect_endpoints", _endpoints())
    stub.add_response("describe_instances", _answer(1, 2), {"Filters": VPC_FILTERS, "MaxResults": 1000})
    _resolve(path, ec2, 1)
    _resolve(path, ec2, 2)
    eic_target_cache.forget(path, "i-00000001")
    stub.add_response("describe_instances", _answer(1), {"InstanceIds": ["i-00000001"]})
    stub.add_response("describe_instance_connect_endpoints", _endpoints(name="eice-9"))
    assert _resolve(path, ec2, 1).endpoint_id == "eice-9"
    assert _resolve(path, ec2, 2).endpoint_id == "eice-9"
    eic_target_cache.forget(path + ".missing", "i-00000001")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"instances": 1}', '{"instances": {"i-00000001": {}}}'])
def test_a_broken_file_is_no_file(path: str, content: str, stub: Stubber, ec2: t.Any) -> None:
    pathlib.Path(path).write_text(content)
    os.chmod(path, 0o600)
    stub.add_response("describe_instances", _answer(1))
    stub.add_response("describe_instance_connect_endpoints", _endpoints())
    assert _resolve(path, ec2, 1).address == "10.0.0.1"
    assert json.loads(pathlib.Path(path).read_text())["instances"]


def test_a_file_that_others_may_write_is_not_believed(path: str, stub: Stubber, ec2: t.Any) -> None:
    for _time in range(2):
        stub.add_response("describe_instances", _answer(1))
        stub.add_response("describe_instance_connect_endpoints", _endpoints())
    _resolve(path, ec2, 1)
    os.chmod(path, 0o666)
    _resolve(path, ec2, 1)


def test_a_file_of_another_user_is_not_believed(path: str, stub: Stubber, ec2: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for _time in range(2):
        stub.add_response("describe_instances", _answer(1))
        stub.add_response("describe_instance_connect_endpoints", _endpoints())
    _resolve(path, ec2, 1)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    _resolve(path, ec2, 1)


def test_a_named_endpoint_is_forgotten_with_the_instance_behind_it(path: str, stub: Stubber, ec2: t.Any) -> None:
    known = Target("10.0.0.1", "eice-1", None)
    for name in ("old", "new"):
        answer = {"InstanceConnectEndpoints": [{**_endpoints()["InstanceConnectEndpoints"][0], "DnsName": f"{name}.example"}]}
        stub.add_response("describe_instance_connect_endpoints", answer, {"InstanceConnectEndpointIds": ["eice-1"]})
        for _time in range(2):
            found = resolve(known, "i-00000001", eic_target_cache.CachedLookup(lambda: ec2, path, 300))
            assert found.dns_name == f"{name}.example"
        eic_target_cache.forget(path, "i-00000001")


class _SlowClient:
    """Counts its queries in a file."""

    def __init__(self, log: str) -> None:
        self._log = log

    def describe_instances(self, **arguments: t.Any) -> dict[str, t.Any]:
        self._count("one")
        return _answer(int(arguments["InstanceIds"][0][2:], 16))

    def get_paginator(self, operation: str) -> t.Any:
        self._operation = operation
        return self

    def paginate(self, **_arguments: t.Any) -> list[dict[str, t.Any]]:
        self._count(self._operation)
        return [_answer(*range(1, 21)) if self._operation == "describe_instances" else _endpoints()]

    def _count(self, what: str) -> None:
        with open(self._log, "a", encoding="ascii") as stream:
            stream.write(f"{what}\n")
        time.sleep(0.1)


def _look_up(path: str, log: str, number: int) -> None:
    assert _resolve(path, _SlowClient(log), number).endpoint_id == "eice-1"


def test_workers_that_ask_at_once_wait_for_one_answer(path: str, tmp_path: pathlib.Path) -> None:
    log = str(tmp_path / "log")
    workers = [FORK.Process(target=_look_up, args=(path, log, number)) for number in range(1, 21)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 20
    assert sorted(pathlib.Path(log).read_text().split()) == ["describe_instance_connect_endpoints", "describe_instances", "one"]
