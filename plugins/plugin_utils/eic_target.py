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
from . import aws_session, eic_preparation_errors

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


Description = dict[str, t.Any]
"""An entry of one of EC2's answers, as botocore gives it."""


class Lookup:
    """What EC2 says now. The client is made by ``ec2`` when something is asked for the first time. All methods raise botocore's errors."""

    def __init__(self, ec2: t.Callable[[], botocore.client.BaseClient]) -> None:
        self._ec2 = ec2
        self._client: t.Any = None

    @property
    def client(self) -> t.Any:
        """botocore's client."""
        if self._client is None:
            self._client = self._ec2()
        return self._client

    def instance(self, instance_id: str) -> Description | None:
        """The instance in any state; ``None`` when there is none."""
        answer = self.client.describe_instances(InstanceIds=[instance_id])
        return next((instance for reservation in answer.get("Reservations", []) for instance in reservation.get("Instances", [])), None)

    def endpoint(self, endpoint_id: str) -> Description | None:
        """The endpoint in any state; ``None`` when there is none."""
        import botocore.exceptions

        try:
            answer = self.client.describe_instance_connect_endpoints(InstanceConnectEndpointIds=[endpoint_id])
        except botocore.exceptions.ClientError as error:
            if "NotFound" not in error.response.get("Error", {}).get("Code", ""):
                raise
            return None
        return next(iter(answer.get("InstanceConnectEndpoints", [])), None)

    def usable_endpoints(self, vpc_id: str) -> list[Description]:
        """The endpoints of the VPC that open tunnels."""
        pages = self.client.get_paginator("describe_instance_connect_endpoints").paginate(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
        return [endpoint for page in pages for endpoint in page.get("InstanceConnectEndpoints", []) if endpoint.get("State") in USABLE_STATES]


def resolve(known: Target, instance_id: str, lookup: Lookup, *, fips: bool = False, direct: bool = False) -> Target:
    """Complete ``known`` for ``instance_id``; ``lookup`` is asked for what is missing only.

    Without a tunnel (``direct``) the address is all that is needed, and no endpoint is looked up.

    Raises :class:`TargetError` when instance, address or endpoint is missing or unusable, and :class:`aws_session.AwsError` when EC2 can't be asked.
    """
    if known.is_complete() or (direct and known.address):
        return known
    import botocore.exceptions

    try:
        address, endpoint, vpc_id, subnet_id = known.address, None, None, None
        if not address or not known.endpoint_id:
            what = f"cannot look up EC2 instance {instance_id}"
            instance = _running_instance(lookup, instance_id)
            address, vpc_id, subnet_id = address or _address(instance), instance.get("VpcId"), instance.get("SubnetId")
        if not direct and not (known.endpoint_id and known.dns_name):
            what = f"cannot look up the EC2 Instance Connect Endpoint for {instance_id}"
            endpoint = _endpoint_by_id(lookup, known.endpoint_id) if known.endpoint_id else _endpoint_of_vpc(lookup, instance_id, vpc_id, subnet_id)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        if "InvalidInstanceID" in str(error):
            raise _not_found(instance_id) from error
        raise aws_session.AwsError(aws_session.sentence(error, what)) from error
    if endpoint is None:
        return dataclasses.replace(known, address=address)
    return Target(address, endpoint["InstanceConnectEndpointId"], known.dns_name or _dns_name(endpoint, fips))


def _error(code: str, **names: t.Any) -> TargetError:
    return TargetError(eic_preparation_errors.sentence(code, **names))


def _running_instance(lookup: Lookup, instance_id: str) -> Description:
    instance = lookup.instance(instance_id)
    if not instance:
        raise _not_found(instance_id)
    state = instance.get("State", {}).get("Name", "unknown")
    if state != "running":
        raise _error("InstanceStopped", instance_id=instance_id, state=state)
    return instance


def _not_found(instance_id: str) -> TargetError:
    return _error("InstanceUnknown", instance_id=instance_id)


def _address(instance: Description) -> str:
    interfaces = instance.get("NetworkInterfaces") or [{}]
    ipv6 = [entry.get("Ipv6Address") for entry in interfaces[0].get("Ipv6Addresses", [])]
    address = instance.get("PrivateIpAddress") or instance.get("Ipv6Address") or next(iter(ipv6), None)
    if not address:
        raise _error("AddressMissing", instance_id=instance.get("InstanceId"))
    return str(address)


def _endpoint_by_id(lookup: Lookup, endpoint_id: str) -> Description:
    endpoint = lookup.endpoint(endpoint_id)
    if not endpoint:
        raise _error("EndpointUnknown", endpoint=endpoint_id)
    if endpoint.get("State") not in USABLE_STATES:
        raise _error("EndpointUnusable", endpoint=endpoint_id, state=endpoint.get("State"))
    return endpoint


def _endpoint_of_vpc(lookup: Lookup, instance_id: str, vpc_id: str | None, subnet_id: str | None) -> Description:
    usable = lookup.usable_endpoints(vpc_id) if vpc_id else []
    if not usable:
        raise _error("EndpointMissing", instance_id=instance_id, vpc=vpc_id or "of the instance")
    return next((endpoint for endpoint in usable if subnet_id and endpoint.get("SubnetId") == subnet_id), usable[0])


def _dns_name(endpoint: Description, fips: bool) -> str:
    name = endpoint.get("FipsDnsName" if fips else "DnsName")
    if not name:
        raise _error("DnsNameMissing", endpoint=endpoint.get("InstanceConnectEndpointId"), name="FIPS DNS name" if fips else "DNS name")
    return str(name)
