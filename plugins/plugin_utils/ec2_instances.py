# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workspace instances as EC2 shows them, in bulk.

The platform tags its instances: ``WorkspaceID``, ``Role=workspace``, ``OrgID``, ``Runtime`` (tenants have ``Role=tenant``).
No answer of the platform's API has the instance id, so these tags are how a tool learns it.
"""
from __future__ import annotations

import dataclasses
import typing as t
from xml.etree import ElementTree

from . import aws_session

if t.TYPE_CHECKING:
    import botocore.client

VALUES_PER_FILTER = 200
"""EC2's limit of values in one filter."""

LIVE_STATES = frozenset({"pending", "running"})
"""States of an instance that is the workspace, or is just becoming it; a stopped or terminated one is not."""

EXISTING_STATES = ("pending", "running", "stopping", "stopped")
"""States of an instance that still is one. A terminated one is listed for about an hour, beside the instance that replaced it."""


@dataclasses.dataclass(frozen=True)
class Instance:
    """One EC2 instance; ``runtime`` is ``None`` without that tag, the other tags are then empty; ``private_address`` is IPv4 if there is one, else IPv6.

    ``region`` is where it was found, empty if nobody asked EC2 for it.
    """

    instance_id: str
    state: str
    workspace_id: str = ""
    runtime: str | None = None
    role: str = ""
    private_address: str | None = None
    name: str = ""
    org_id: str = ""
    region: str = ""

    @classmethod
    def from_description(cls, description: t.Mapping[str, t.Any], region: str = "") -> Instance:
        """From one entry of ``Reservations[].Instances[]`` in an answer of DescribeInstances."""
        tags = {tag["Key"]: tag.get("Value", "") for tag in description.get("Tags", [])}
        addresses = [address["Ipv6Address"] for interface in description.get("NetworkInterfaces", []) for address in interface.get("Ipv6Addresses", [])]
        return cls(
            instance_id=description["InstanceId"],
            state=description["State"]["Name"],
            workspace_id=tags.get("WorkspaceID", ""),
            runtime=tags.get("Runtime"),
            role=tags.get("Role", ""),
            private_address=description.get("PrivateIpAddress") or description.get("Ipv6Address") or next(iter(addresses), None),
            name=tags.get("Name", ""),
            org_id=tags.get("OrgID", ""),
            region=region,
        )


def find_by_workspace_ids(client: botocore.client.BaseClient, workspace_ids: t.Sequence[str]) -> list[Instance]:
    """The instances, in any state, that are tagged as workspaces with one of these ids; raises :class:`aws_session.AwsError`."""
    return _describe(client, "tag:WorkspaceID", workspace_ids, [{"Name": "tag:Role", "Values": ["workspace"]}])


def find_by_instance_ids(client: botocore.client.BaseClient, instance_ids: t.Sequence[str]) -> list[Instance]:
    """Those of these instances that exist, in any state; raises :class:`aws_session.AwsError`.

    A filter, because asking with ``InstanceIds`` fails as a whole when one of them does not exist.
    """
    return _describe(client, "instance-id", instance_ids, [])


def find_workspaces(client: botocore.client.BaseClient, filters: t.Mapping[str, t.Sequence[str]]) -> list[Instance]:
    """Every instance that is tagged as a workspace, is not terminated and passes the ``filters`` (values by filter name); raises as the others."""
    selection = {"tag:Role": ["workspace"], "tag-key": ["WorkspaceID"], "instance-state-name": list(EXISTING_STATES), **filters}
    return _pages(client, [{"Name": name, "Values": list(values)} for name, values in selection.items()])


def _describe(client: botocore.client.BaseClient, name: str, values: t.Sequence[str], further: list[dict[str, t.Any]]) -> list[Instance]:
    """The instances with the filter ``name`` = any of ``values``, and the ``further`` filters."""
    found: list[Instance] = []
    for start in range(0, len(values), VALUES_PER_FILTER):
        found += _pages(client, [{"Name": name, "Values": list(values[start : start + VALUES_PER_FILTER])}, *further])
    return found


def _pages(client: botocore.client.BaseClient, filters: list[dict[str, t.Any]]) -> list[Instance]:
    """All pages of DescribeInstances."""
    import botocore.exceptions

    found: list[Instance] = []
    region = client.meta.region_name
    client.meta.events.register("before-parse.ec2.DescribeInstances", _read_answer, unique_id="molecule_ai.workspace")
    try:
        for page in client.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 1000}):
            found += [Instance.from_description(instance, region) for reservation in page["Reservations"] for instance in reservation["Instances"]]
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise aws_session.AwsError(aws_session.sentence(error, f"cannot look up EC2 instances in {client.meta.region_name}")) from error
    return found


def _read_answer(response_dict: dict[str, t.Any], customized_response_dict: dict[str, t.Any], **_named: object) -> None:
    """Read what is needed of an answer ourselves, in botocore's place (its event before-parse; a botocore without it goes on as ever).

    An answer has some 150 elements per instance. botocore's reader, which makes typed values of all of them by the service's model, takes most of the time
    that an inventory of thousands of instances needs.
    """
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314 - from AWS, over TLS; botocore itself reads it in the same way
    except ElementTree.ParseError:
        return  # botocore has a sentence for it
    # "{namespace}", which has the version of the API, or nothing
    space = "".join(root.tag.rpartition("}")[:2])
    items = root.iterfind(f"{space}reservationSet/{space}item/{space}instancesSet/{space}item")
    customized_response_dict["Reservations"] = [{"Instances": [_description(item, space) for item in items]}]
    token = root.findtext(f"{space}nextToken")
    if token:
        customized_response_dict["NextToken"] = token
    response_dict["body"] = b"<DescribeInstancesResponse/>"


def _description(item: ElementTree.Element, space: str) -> dict[str, t.Any]:
    """The parts of one instance that :meth:`Instance.from_description` takes."""
    addresses = item.iterfind(f"{space}networkInterfaceSet/{space}item/{space}ipv6AddressesSet/{space}item/{space}ipv6Address")
    return {
        "InstanceId": item.findtext(f"{space}instanceId"),
        "State": {"Name": item.findtext(f"{space}instanceState/{space}name")},
        "Tags": [
            {"Key": tag.findtext(f"{space}key"), "Value": tag.findtext(f"{space}value") or ""} for tag in item.iterfind(f"{space}tagSet/{space}item")
        ],
        "PrivateIpAddress": item.findtext(f"{space}privateIpAddress"),
        "Ipv6Address": item.findtext(f"{space}ipv6Address"),
        "NetworkInterfaces": [{"Ipv6Addresses": [{"Ipv6Address": address.text} for address in addresses]}],
    }
