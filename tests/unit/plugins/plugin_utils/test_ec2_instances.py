# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EC2 queries: how many, with which filters, over all pages; and what an instance's description becomes."""
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import aws_session, ec2_instances

botocore_stub = pytest.importorskip("botocore.stub")

OPTIONS = aws_session.AwsOptions(region="eu-west-1", access_key="AKIDEXAMPLE", secret_key="not-a-real-secret")
ROLE = {"Name": "tag:Role", "Values": ["workspace"]}


def described(number: int, **others: t.Any) -> dict[str, t.Any]:
    """One entry of ``Reservations[].Instances[]``."""
    tags = [{"Key": "WorkspaceID", "Value": f"w{number}"}, {"Key": "Role", "Value": "workspace"}, {"Key": "Runtime", "Value": "hermes"}]
    return {"InstanceId": f"i-{number:017x}", "State": {"Name": "running"}, "Tags": tags, "PrivateIpAddress": f"10.0.0.{number}", **others}


def page(*instances: dict[str, t.Any], following: str | None = None) -> dict[str, t.Any]:
    """One answer of DescribeInstances, an instance a reservation."""
    return {"Reservations": [{"Instances": [instance]} for instance in instances], **({"NextToken": following} if following else {})}


@pytest.fixture(name="ec2")
def fixture_ec2() -> t.Iterator[tuple[t.Any, t.Any]]:
    """A botocore client and the stubber that knows its answers; unused answers fail the test."""
    client = aws_session.client(OPTIONS, "ec2")
    with botocore_stub.Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


def test_all_pages_of_one_query(ec2: tuple[t.Any, t.Any]) -> None:
    """Fifty workspaces are one query, and its pages are followed."""
    client, stubber = ec2
    ids = [f"w{number}" for number in range(50)]
    asked = {"Filters": [{"Name": "tag:WorkspaceID", "Values": ids}, ROLE], "MaxResults": 1000}
    stubber.add_response("describe_instances", page(described(1), described(2), following="more"), asked)
    stubber.add_response("describe_instances", page(described(3)), {**asked, "NextToken": "more"})
    found = ec2_instances.find_by_workspace_ids(client, ids)
    assert [instance.workspace_id for instance in found] == ["w1", "w2", "w3"]


def test_two_hundred_values_per_filter(ec2: tuple[t.Any, t.Any]) -> None:
    """EC2 refuses more."""
    client, stubber = ec2
    ids = [f"i-{number:017x}" for number in range(401)]
    for chunk in (ids[:200], ids[200:400], ids[400:]):
        stubber.add_response("describe_instances", page(), {"Filters": [{"Name": "instance-id", "Values": chunk}], "MaxResults": 1000})
    assert ec2_instances.find_by_instance_ids(client, ids) == []


def test_nothing_to_ask_asks_nothing(ec2: tuple[t.Any, t.Any]) -> None:
    """A filter without values would be an error."""
    assert ec2_instances.find_by_workspace_ids(ec2[0], []) == []


def test_refused_is_one_sentence(ec2: tuple[t.Any, t.Any]) -> None:
    """What, where, why; no raw text of AWS."""
    client, stubber = ec2
    stubber.add_client_error("describe_instances", "UnauthorizedOperation", "You are not authorized. Encoded authorization failure message: AAAA")
    expected = r"^cannot look up EC2 instances in eu-west-1: AWS answers UnauthorizedOperation \(allow the IAM identity the action DescribeInstances\)"
    with pytest.raises(aws_session.AwsError, match=expected) as caught:
        ec2_instances.find_by_workspace_ids(client, ["w1"])
    assert "Encoded" not in str(caught.value)


def test_description() -> None:
    """Tags, state and address; IPv6 where there is no IPv4; missing tags."""
    assert ec2_instances.Instance.from_description(described(7)) == ec2_instances.Instance(
        "i-00000000000000007", "running", workspace_id="w7", runtime="hermes", role="workspace", private_address="10.0.0.7"
    )
    bare = {"InstanceId": "i-00000000", "State": {"Name": "terminated"}}
    assert ec2_instances.Instance.from_description(bare) == ec2_instances.Instance("i-00000000", "terminated")
    interface = {"NetworkInterfaces": [{"Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}]}]}
    assert ec2_instances.Instance.from_description({**bare, **interface}).private_address == "2001:db8::1"
    assert ec2_instances.Instance.from_description({**bare, "Ipv6Address": "2001:db8::2"}).private_address == "2001:db8::2"
