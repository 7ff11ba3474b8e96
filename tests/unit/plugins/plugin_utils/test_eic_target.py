# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From an instance id to address and endpoint, against botocore's own client with stubbed answers."""
from __future__ import annotations

import typing as t

import botocore.session
import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.eic_target import Lookup, Target, TargetError, resolve
from botocore.stub import Stubber

INSTANCE = "i-0123456789abcdef0"
NOTHING = Target(None, None, None)


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


def _instances(**fields: t.Any) -> dict[str, t.Any]:
    instance = {"InstanceId": INSTANCE, "State": {"Name": "running"}, "VpcId": "vpc-1", "SubnetId": "subnet-b", "PrivateIpAddress": "10.0.0.5", **fields}
    return {"Reservations": [{"Instances": [{key: value for key, value in instance.items() if value is not None}]}]}


def _endpoint(name: str, subnet: str = "subnet-a", state: str = "create-complete", **fields: str) -> dict[str, str]:
    return {"InstanceConnectEndpointId": name, "DnsName": f"{name}.example", "State": state, "VpcId": "vpc-1", "SubnetId": subnet, **fields}


def test_nothing_is_asked_when_all_is_known() -> None:
    known = Target("10.0.0.1", "eice-1", "eice-1.example")
    assert resolve(known, INSTANCE, Lookup(lambda: pytest.fail("a client was made"))) == known


def test_the_endpoint_of_the_instances_subnet_wins_over_all_pages(stub: Stubber, ec2: t.Any) -> None:
    filters = {"Filters": [{"Name": "vpc-id", "Values": ["vpc-1"]}]}
    stub.add_response("describe_instances", _instances(), {"InstanceIds": [INSTANCE]})
    stub.add_response("describe_instance_connect_endpoints", {"InstanceConnectEndpoints": [_endpoint("eice-a")], "NextToken": "next"}, filters)
    page = {"InstanceConnectEndpoints": [_endpoint("eice-failed", "subnet-b", "create-failed"), _endpoint("eice-b", "subnet-b", "update-failed")]}
    stub.add_response("describe_instance_connect_endpoints", page, {**filters, "NextToken": "next"})
    assert resolve(NOTHING, INSTANCE, Lookup(lambda: ec2)) == Target("10.0.0.5", "eice-b", "eice-b.example")


def test_otherwise_the_first_usable_one_of_the_vpc(stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _instances())
    page = {"InstanceConnectEndpoints": [_endpoint("eice-d", state="delete-in-progress"), _endpoint("eice-e"), _endpoint("eice-f")]}
    stub.add_response("describe_instance_connect_endpoints", page)
    assert resolve(NOTHING, INSTANCE, Lookup(lambda: ec2)).endpoint_id == "eice-e"


def test_a_given_endpoint_and_address_cost_no_instance_look_up(stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instance_connect_endpoints", {"InstanceConnectEndpoints": [_endpoint("eice-1")]}, {"InstanceConnectEndpointIds": ["eice-1"]})
    assert resolve(Target("10.9.9.9", "eice-1", None), INSTANCE, Lookup(lambda: ec2)) == Target("10.9.9.9", "eice-1", "eice-1.example")


def test_a_given_endpoint_costs_no_endpoint_look_up(stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _instances())
    assert resolve(Target(None, "eice-1", "name"), INSTANCE, Lookup(lambda: ec2)) == Target("10.0.0.5", "eice-1", "name")


def test_without_ipv4_the_ipv6_address_is_taken(stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _instances(PrivateIpAddress=None, NetworkInterfaces=[{"Ipv6Addresses": [{"Ipv6Address": "2600::1"}]}]))
    assert resolve(Target(None, "eice-1", "name"), INSTANCE, Lookup(lambda: ec2)).address == "2600::1"


def test_fips_takes_the_fips_name(stub: Stubber, ec2: t.Any) -> None:
    answer = {"InstanceConnectEndpoints": [_endpoint("eice-1", FipsDnsName="fips.example")]}
    stub.add_response("describe_instance_connect_endpoints", answer)
    assert resolve(Target("10.0.0.1", "eice-1", None), INSTANCE, Lookup(lambda: ec2), fips=True).dns_name == "fips.example"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_instances(State={"Name": "stopped"}), "is stopped, not running"),
        ({"Reservations": []}, "EC2 knows no such instance"),
        (_instances(PrivateIpAddress=None), "no private address; set ansible_eic_private_address"),
    ],
)
def test_an_instance_that_cannot_be_reached(stub: Stubber, ec2: t.Any, answer: dict[str, t.Any], words: str) -> None:
    stub.add_response("describe_instances", answer)
    with pytest.raises(TargetError, match=words):
        resolve(NOTHING, INSTANCE, Lookup(lambda: ec2))


@pytest.mark.parametrize("code", ["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"])
def test_an_unknown_instance(stub: Stubber, ec2: t.Any, code: str) -> None:
    stub.add_client_error("describe_instances", code, "The instance ID does not exist", 400)
    with pytest.raises(TargetError, match="EC2 knows no such instance"):
        resolve(NOTHING, INSTANCE, Lookup(lambda: ec2))


@pytest.mark.parametrize(
    ("answer", "words"),
    [([], "does not exist"), ([_endpoint("eice-1", state="delete-in-progress")], "state delete-in-progress"), ([_endpoint("eice-1")], "no FIPS DNS name")],
)
def test_an_endpoint_that_cannot_be_used(stub: Stubber, ec2: t.Any, answer: list[dict[str, str]], words: str) -> None:
    stub.add_response("describe_instance_connect_endpoints", {"InstanceConnectEndpoints": answer})
    with pytest.raises(TargetError, match=words):
        resolve(Target("10.0.0.1", "eice-1", None), INSTANCE, Lookup(lambda: ec2), fips=True)


def test_an_unknown_endpoint(stub: Stubber, ec2: t.Any) -> None:
    stub.add_client_error("describe_instance_connect_endpoints", "InvalidInstanceConnectEndpointId.NotFound", "no", 400)
    with pytest.raises(TargetError, match="eice-1 does not exist"):
        resolve(Target("10.0.0.1", "eice-1", None), INSTANCE, Lookup(lambda: ec2))


def test_a_vpc_without_endpoints(stub: Stubber, ec2: t.Any) -> None:
    stub.add_response("describe_instances", _instances())
    stub.add_response("describe_instance_connect_endpoints", {"InstanceConnectEndpoints": []})
    with pytest.raises(TargetError, match="VPC vpc-1 has no usable"):
        resolve(NOTHING, INSTANCE, Lookup(lambda: ec2))


def test_a_denied_look_up_is_not_an_absent_instance(stub: Stubber, ec2: t.Any) -> None:
    stub.add_client_error("describe_instances", "UnauthorizedOperation", "You are not authorized. Encoded authorization failure message: canary", 403)
    with pytest.raises(aws_session.AwsError, match="cannot look up EC2 instance i-0123456789abcdef0") as caught:
        resolve(NOTHING, INSTANCE, Lookup(lambda: ec2))
    assert "canary" not in str(caught.value)
