# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a tunnel has to go: from an instance id to the private address, the endpoint and the endpoint's DNS name.

The choice is the AWS CLI's (``ec2-instance-connect open-tunnel``): the private IPv4 address, else the IPv6 one; an endpoint of the instance's VPC in a
usable state, the one of its subnet first. Nothing is asked that the caller knows already.
"""
from __future__ import annotations

import dataclasses
import typing as t

from ..module_utils.errors import WorkspaceError
from . import aws_session

if t.TYPE_CHECKING:
    import botocore.client

USABLE_STATES = frozenset(["create-complete", "update-in-progress", "update-failed", "update-complete"])
"""States in which an endpoint opens tunnels."""


class TargetError(WorkspaceError):
    """The instance cannot be reached by what EC2 knows about it."""


@dataclasses.dataclass(frozen=True)
class Target:
    """The three facts that a tunnel needs; ``None`` in what is given to :func:`resolve` means "look it up"."""

    address: str | None
    endpoint_id: str | None
    dns_name: str | None

    def is_complete(self) -> bool:
        """Whether nothing has to be asked."""
        return bool(self.address and self.endpoint_id and self.dns_name)


def resolve(
    known: Target, instance_id: str, ec2: t.Callable[[], botocore.client.BaseClient], *, fips: bool = False, direct: bool = False
) -> Target:
    """Complete ``known`` for ``instance_id``; ``ec2`` makes the client, and is not called when nothing is missing.

    Without a tunnel (``direct``) the address is all that is needed, and no endpoint is looked up.

    Raises :class:`TargetError` when instance, address or endpoint is missing or unusable, and :class:`aws_session.AwsError` when EC2 can't be asked.
    """
    if known.is_complete() or (direct and known.address):
        return known
    import botocore.exceptions

    client = ec2()
    try:
        address, endpoint, vpc_id, subnet_id = known.address, None, None, None
        if not address or not known.endpoint_id:
            what = f"cannot look up EC2 instance {instance_id}"
            instance = _running_instance(client, instance_id)
            address, vpc_id, subnet_id = address or _address(instance), instance.get("VpcId"), instance.get("SubnetId")
        if not direct and not (known.endpoint_id and known.dns_name):
            what = f"cannot look up the EC2 Instance Connect Endpoint for {instance_id}"
            endpoint = _endpoint_by_id(client, known.endpoint_id) if known.endpoint_id else _endpoint_of_vpc(client, instance_id, vpc_id, subnet_id)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        if "InvalidInstanceID" in str(error):
            raise _not_found(instance_id) from error
        raise aws_session.AwsError(aws_session.sentence(error, what)) from error
    if endpoint is None:
        return dataclasses.replace(known, address=address)
    return Target(address, endpoint["InstanceConnectEndpointId"], known.dns_name or _dns_name(endpoint, fips))


def _running_instance(client: botocore.client.BaseClient, instance_id: str) -> dict[str, t.Any]:
    answer = client.describe_instances(InstanceIds=[instance_id])
    instances: list[dict[str, t.Any]] = [instance for reservation in answer.get("Reservations", []) for instance in reservation.get("Instances", [])]
    if not instances:
        raise _not_found(instance_id)
    state = instances[0].get("State", {}).get("Name", "unknown")
    if state != "running":
        raise TargetError(f"{instance_id}: the instance is {state}, not running; start it, or remove it from the inventory")
    return instances[0]


def _not_found(instance_id: str) -> TargetError:
    return TargetError(f"{instance_id}: EC2 knows no such instance; check the instance id, the region and the account of the credentials")


def _address(instance: dict[str, t.Any]) -> str:
    interfaces = instance.get("NetworkInterfaces") or [{}]
    ipv6 = [entry.get("Ipv6Address") for entry in interfaces[0].get("Ipv6Addresses", [])]
    address = instance.get("PrivateIpAddress") or instance.get("Ipv6Address") or next(iter(ipv6), None)
    if not address:
        raise TargetError(f"{instance.get('InstanceId')}: the instance has no private address; set ansible_eic_private_address")
    return str(address)


def _endpoint_by_id(client: botocore.client.BaseClient, endpoint_id: str) -> dict[str, t.Any]:
    import botocore.exceptions

    hint = "check ansible_eic_endpoint_id, region and account"
    try:
        answer = client.describe_instance_connect_endpoints(InstanceConnectEndpointIds=[endpoint_id])
        endpoints: list[dict[str, t.Any]] = answer.get("InstanceConnectEndpoints", [])
    except botocore.exceptions.ClientError as error:
        if "NotFound" not in error.response.get("Error", {}).get("Code", ""):
            raise
        endpoints = []
    if not endpoints:
        raise TargetError(f"EC2 Instance Connect Endpoint {endpoint_id} does not exist; {hint}")
    if endpoints[0].get("State") not in USABLE_STATES:
        raise TargetError(f"EC2 Instance Connect Endpoint {endpoint_id} is in state {endpoints[0].get('State')} and opens no tunnels; {hint}")
    return endpoints[0]


def _endpoint_of_vpc(client: botocore.client.BaseClient, instance_id: str, vpc_id: str | None, subnet_id: str | None) -> dict[str, t.Any]:
    usable: list[dict[str, t.Any]] = []
    if vpc_id:
        pages = client.get_paginator("describe_instance_connect_endpoints").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
        usable = [endpoint for page in pages for endpoint in page.get("InstanceConnectEndpoints", []) if endpoint.get("State") in USABLE_STATES]
    if not usable:
        raise TargetError(
            f"{instance_id}: VPC {vpc_id or 'of the instance'} has no usable EC2 Instance Connect Endpoint; create one there, or set ansible_eic_endpoint_id"
        )
    return next((endpoint for endpoint in usable if subnet_id and endpoint.get("SubnetId") == subnet_id), usable[0])


def _dns_name(endpoint: dict[str, t.Any], fips: bool) -> str:
    name = endpoint.get("FipsDnsName" if fips else "DnsName")
    if not name:
        kind = "FIPS DNS name" if fips else "DNS name"
        raise TargetError(f"EC2 Instance Connect Endpoint {endpoint.get('InstanceConnectEndpointId')} has no {kind}; set ansible_eic_endpoint_dns_name")
    return str(name)
