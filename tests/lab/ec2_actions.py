# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EC2 actions of the simulated control plane, over the lab's world.  Each takes the query's parameters and returns the answer's content."""
from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import ec2_query
from .aws_errors import AwsError
from .lab_state import LabState

Record = dict[str, Any]
OWNER_ID = "123456789012"
CREATED_AT = "2026-05-04T08:00:00.000Z"
_STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


def _field(name: str) -> Any:
    """A filter over one field of a record."""
    def extract(record: Record, _suffix: str) -> Sequence[str]:
        return [str(record[name])] if record.get(name) is not None else []
    return extract


def _tag_values(record: Record, key: str) -> Sequence[str]:
    return [str(record["tags"][key])] if key in record.get("tags", {}) else []


def _tag_keys(record: Record, _suffix: str) -> Sequence[str]:
    return list(record.get("tags", {}))


_INSTANCE_FILTERS: dict[str, Any] = {
    "instance-id": _field("instance_id"), "instance-state-name": _field("state"), "vpc-id": _field("vpc_id"), "subnet-id": _field("subnet_id"),
    "availability-zone": _field("availability_zone"), "private-ip-address": _field("private_ip"),
    "network-interface.addresses.private-ip-address": _field("private_ip"), "network-interface.ipv6-addresses.ipv6-address": _field("ipv6"),
    "tag-key": _tag_keys, "tag:": _tag_values,
}
_ENDPOINT_FILTERS: dict[str, Any] = {
    "instance-connect-endpoint-id": _field("id"), "state": _field("state"), "vpc-id": _field("vpc_id"), "subnet-id": _field("subnet_id"),
    "tag-key": _tag_keys, "tag:": _tag_values,
}


def describe_instances(lab: LabState, parameters: Mapping[str, str]) -> Record:
    """DescribeInstances: by ids or by filters, paginated."""
    ids = ec2_query.numbered(parameters, "InstanceId")
    if ids and "MaxResults" in parameters:
        raise AwsError("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
    lab.counters.add("describe_instances")
    instances = [_instance(lab, instance_id) for instance_id in ids] if ids else lab.world.instances
    selected = ec2_query.select(instances, ec2_query.filters(parameters), _INSTANCE_FILTERS)
    shown, token = ec2_query.page(selected, parameters, (5, 1000), lab.settings.page_size)
    reservations = [{"reservationId": _derived("r", each["instance_id"]), "ownerId": OWNER_ID, "groupSet": [], "instancesSet": [_describe_instance(each)]}
                    for each in shown]
    return {"reservationSet": reservations, "nextToken": token}


def describe_endpoints(lab: LabState, parameters: Mapping[str, str]) -> Record:
    """DescribeInstanceConnectEndpoints: by ids or by filters, paginated."""
    ids = ec2_query.numbered(parameters, "InstanceConnectEndpointId")
    lab.counters.add("describe_endpoints")
    endpoints = lab.world.endpoints
    for endpoint_id in ids:
        if lab.world.endpoint(endpoint_id) is None:
            raise AwsError("InvalidInstanceConnectEndpointId.NotFound", f"The instance connect endpoint ID '{endpoint_id}' does not exist")
    if ids:
        endpoints = [each for each in endpoints if each["id"] in ids]
    selected = ec2_query.select(endpoints, ec2_query.filters(parameters), _ENDPOINT_FILTERS)
    shown, token = ec2_query.page(selected, parameters, (1, 50), min(lab.settings.page_size, 50))
    return {"instanceConnectEndpointSet": [_describe_endpoint(each, lab.world.region) for each in shown], "nextToken": token}


def get_console_output(lab: LabState, parameters: Mapping[str, str]) -> Record:
    """GetConsoleOutput: what cloud-init printed at the first boot, with the host keys."""
    instance = _instance(lab, parameters.get("InstanceId", ""))
    lab.counters.add("console_outputs", scope=instance["instance_id"])
    output = _console(instance) if instance["state"] == "running" and instance.get("host_keys") else ""
    return {"instanceId": instance["instance_id"], "timestamp": CREATED_AT, "output": base64.b64encode(output.encode()).decode()}


ACTIONS = {
    "DescribeInstances": describe_instances,
    "DescribeInstanceConnectEndpoints": describe_endpoints,
    "GetConsoleOutput": get_console_output,
}


def _instance(lab: LabState, instance_id: str) -> Record:
    if not re.fullmatch(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})", instance_id):
        raise AwsError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
    instance = lab.world.instance(instance_id)
    if instance is None:
        raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    return instance


def _describe_instance(instance: Record) -> Record:
    gone = instance["state"] == "terminated"  # a terminated instance has no network any more
    address, ipv6 = instance.get("private_ip"), instance.get("ipv6")
    return {
        "instanceId": instance["instance_id"],
        "imageId": "ami-0a1b2c3d4e5f60718",
        "instanceState": {"code": _STATE_CODES[instance["state"]], "name": instance["state"]},
        "privateDnsName": "" if gone or not address else f"ip-{address.replace('.', '-')}.{instance['availability_zone'][:-1]}.compute.internal",
        "dnsName": "",
        "instanceType": "t3.medium",
        "launchTime": CREATED_AT,
        "placement": {"availabilityZone": instance["availability_zone"], "groupName": "", "tenancy": "default"},
        "monitoring": {"state": "disabled"},
        "subnetId": None if gone else instance["subnet_id"],
        "vpcId": None if gone else instance["vpc_id"],
        "privateIpAddress": None if gone else address,
        "ipv6Address": None if gone else ipv6,
        "architecture": "x86_64",
        "tagSet": [{"key": key, "value": value} for key, value in instance.get("tags", {}).items()],
        "networkInterfaceSet": [] if gone else [{
            "networkInterfaceId": _derived("eni", instance["instance_id"]), "subnetId": instance["subnet_id"], "vpcId": instance["vpc_id"],
            "status": "in-use", "privateIpAddress": address, "ipv6AddressesSet": [{"ipv6Address": ipv6}] if ipv6 else [],
        }],
    }


def _describe_endpoint(endpoint: Record, region: str) -> Record:
    return {
        "ownerId": OWNER_ID,
        "instanceConnectEndpointId": endpoint["id"],
        "instanceConnectEndpointArn": f"arn:aws:ec2:{region}:{OWNER_ID}:instance-connect-endpoint/{endpoint['id']}",
        "state": endpoint["state"],
        "stateMessage": "",
        "dnsName": endpoint["dns_name"],
        "fipsDnsName": endpoint.get("fips_dns_name"),
        "networkInterfaceIdSet": [_derived("eni", endpoint["id"])],
        "vpcId": endpoint["vpc_id"],
        "availabilityZone": endpoint.get("availability_zone", f"{region}a"),
        "createdAt": CREATED_AT,
        "subnetId": endpoint["subnet_id"],
        "preserveClientIp": False,
        "securityGroupIdSet": [_derived("sg", endpoint["vpc_id"])],
        "tagSet": [{"key": key, "value": value} for key, value in endpoint.get("tags", {}).items()],
    }


def _console(instance: Record) -> str:
    """The end of a boot log in cloud-init's format."""
    begin, end, rule = "-----BEGIN SSH HOST KEY {}-----", "-----END SSH HOST KEY {}-----", "#" * 61
    fingerprints = [f"256 {_fingerprint(key.split()[1])} root@{instance['instance_id']}" for key in instance["host_keys"]]
    tagged = [rule, begin.format("FINGERPRINTS"), *fingerprints, end.format("FINGERPRINTS"), rule]
    keys = [begin.format("KEYS"), *(" ".join(key.split()[:2]) + f" root@{instance['instance_id']}" for key in instance["host_keys"]), end.format("KEYS")]
    lines = ["[    0.000000] Linux version 6.8.0-1029-aws", "ci-info: no authorized SSH keys fingerprints found for user ubuntu.",
             *(f"<14>May  4 08:00:31 cloud-init: {line}" for line in tagged), *keys, "[   31.415926] cloud-init[1001]: Cloud-init finished."]
    return "\r\n".join(lines) + "\r\n"


def _fingerprint(key_data: str) -> str:
    """The SHA256 fingerprint of a base64 key, as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(key_data)).digest()).decode().rstrip("=")


def _derived(prefix: str, seed: str) -> str:
    """A stable id, as AWS forms them."""
    return f"{prefix}-0{hashlib.sha256(seed.encode()).hexdigest()[:16]}"
