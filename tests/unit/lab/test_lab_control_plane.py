# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated AWS APIs satisfy real botocore clients, with the errors that AWS would give."""
from __future__ import annotations

import base64
import time
from typing import Any

import botocore.exceptions
import pytest
from conftest import ED25519, ENDPOINT_DNS, ENDPOINT_ID, RUNNING, STOPPED, TERMINATED, RunningLab


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"].get("RequestId") or caught.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
    return caught.value.response["Error"]["Code"]


def found(pages: Any) -> list[str]:
    return [each["InstanceId"] for page in pages for reservation in page["Reservations"] for each in reservation["Instances"]]


def test_describe_instances_by_id_filter_and_page(lab: RunningLab) -> None:
    ec2 = lab.client("ec2")
    answer = ec2.describe_instances(InstanceIds=[RUNNING])["Reservations"][0]["Instances"][0]
    assert (answer["PrivateIpAddress"], answer["VpcId"], answer["State"]["Name"]) == ("10.0.0.1", "vpc-1", "running")
    assert {"Key": "Runtime", "Value": "claude-code"} in answer["Tags"]
    paginator = ec2.get_paginator("describe_instances")
    workspaces = [{"Name": "tag:Role", "Values": ["work*"]}, {"Name": "instance-state-name", "Values": ["running", "stopped"]}]
    assert found(paginator.paginate(Filters=workspaces)) == [RUNNING, STOPPED]
    lab.state.settings.change({"page_size": 1})
    lab.state.counters.reset()
    assert found(paginator.paginate(Filters=workspaces)) == [RUNNING, STOPPED]
    assert lab.state.counters.as_dict()["describe_instances"] == 2


def test_describe_instances_errors(lab: RunningLab) -> None:
    describe = lab.client("ec2").describe_instances
    assert code(describe, InstanceIds=["i-0fffffffffffffff0"]) == "InvalidInstanceID.NotFound"
    assert code(describe, InstanceIds=["mol-ws-x"]) == "InvalidInstanceID.Malformed"
    assert code(describe, Filters=[{"Name": "no-such", "Values": ["x"]}]) == "InvalidParameterValue"
    assert code(describe, NextToken="x") == "InvalidParameterValue"
    assert "PrivateIpAddress" not in describe(InstanceIds=[TERMINATED])["Reservations"][0]["Instances"][0]


def test_describe_endpoints_by_vpc_and_state(lab: RunningLab) -> None:
    ec2 = lab.client("ec2")
    wanted = [{"Name": "vpc-id", "Values": ["vpc-1", "vpc-2"]}, {"Name": "state", "Values": ["create-complete"]}]
    endpoint, = ec2.describe_instance_connect_endpoints(Filters=wanted)["InstanceConnectEndpoints"]
    assert (endpoint["InstanceConnectEndpointId"], endpoint["DnsName"], endpoint["SubnetId"]) == (ENDPOINT_ID, ENDPOINT_DNS, "subnet-1")
    assert code(ec2.describe_instance_connect_endpoints, InstanceConnectEndpointIds=["eice-0"]) == "InvalidInstanceConnectEndpointId.NotFound"
    pages = ec2.get_paginator("describe_instance_connect_endpoints").paginate(PaginationConfig={"PageSize": 1})
    assert [len(page["InstanceConnectEndpoints"]) for page in pages] == [1, 1]


def test_console_output_has_the_host_keys(lab: RunningLab) -> None:
    output = lab.client("ec2").get_console_output(InstanceId=RUNNING)["Output"]
    block = output.split("-----BEGIN SSH HOST KEY KEYS-----")[1].split("-----END SSH HOST KEY KEYS-----")[0]
    assert ED25519 in block and len(block.strip().splitlines()) == 1


def test_caller_identity(lab: RunningLab) -> None:
    assert lab.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_credentials_are_checked_and_errors_differ_by_service(lab: RunningLab) -> None:
    wrong = {"aws_secret_access_key": "wrong"}
    assert code(lab.client("ec2", **wrong).describe_instances) == "AuthFailure"
    assert code(lab.client("sts", **wrong).get_caller_identity) == "SignatureDoesNotMatch"
    push = {"InstanceId": RUNNING, "InstanceOSUser": "ubuntu", "SSHPublicKey": ED25519}
    assert code(lab.client("ec2-instance-connect", **wrong).send_ssh_public_key, **push) == "InvalidSignatureException"
    temporary = {"aws_access_key_id": "ASIALABLABLABLABLAB1", "aws_secret_access_key": "temporary", "aws_session_token": "token/with+signs=="}
    assert lab.client("sts", **temporary).get_caller_identity()
    assert code(lab.client("sts", **{**temporary, "aws_session_token": "other"}).get_caller_identity) == "InvalidClientTokenId"
    lab.state.faults.add({"name": "expire_token", "surface": "api"})
    assert code(lab.client("ec2-instance-connect").send_ssh_public_key, **push) == "ExpiredTokenException"
    lab.state.faults.remove()
    lab.state.faults.add({"name": "clock_skew", "seconds": 301})
    assert code(lab.client("ec2").describe_instances) == "RequestExpired"


def test_pushed_keys_are_stored_side_by_side_and_expire(lab: RunningLab) -> None:
    push = lab.client("ec2-instance-connect").send_ssh_public_key
    assert push(InstanceId=RUNNING, InstanceOSUser="ubuntu", SSHPublicKey=ED25519, AvailabilityZone="us-east-2a")["Success"] is True
    lab.state.settings.change({"key_lifetime": 0.3})
    push(InstanceId=RUNNING, InstanceOSUser="ubuntu", SSHPublicKey=ED25519 + " second\n")
    lines = (lab.directory / "keys" / RUNNING / "ubuntu").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [ED25519, ED25519 + " second"]
    assert 55 < float(lines[0].split()[0]) - time.time() <= 60
    time.sleep(0.35)
    assert lab.state.keys.unexpired(RUNNING, "ubuntu") == [ED25519]
    assert lab.state.counters.as_dict()["by_id"][RUNNING]["key_pushes"] == 2


def test_pushes_are_validated(lab: RunningLab) -> None:
    push = lab.client("ec2-instance-connect", ).send_ssh_public_key
    good = {"InstanceId": RUNNING, "InstanceOSUser": "ubuntu", "SSHPublicKey": ED25519}
    assert len(ED25519) == 80
    ecdsa = "ecdsa-sha2-nistp256 " + base64.b64encode(b"\0\0\0\x13ecdsa-sha2-nistp256" + b"\0\0\0\x40" + bytes(64)).decode()
    for wrong in ({"SSHPublicKey": ecdsa}, {"SSHPublicKey": "x" * 80}, {"SSHPublicKey": ED25519 + "\n" + ED25519}, {"InstanceOSUser": "a b"},
                  {"InstanceOSUser": "../x"}, {"InstanceId": "mol-ws-renamed"}):
        assert code(push, **{**good, **wrong}) == "InvalidArgsException"
    assert code(push, **{**good, "InstanceId": "i-0fffffffffffffff0"}) == "EC2InstanceNotFoundException"
    assert code(push, **{**good, "InstanceId": TERMINATED}) == "EC2InstanceNotFoundException"
    assert code(push, **{**good, "InstanceId": STOPPED}) == "EC2InstanceStateInvalidException"
    assert not (lab.directory / "keys").exists()


def test_push_faults_strike_where_and_as_often_as_they_should(lab: RunningLab) -> None:
    push = lab.client("ec2-instance-connect").send_ssh_public_key
    good = {"InstanceId": RUNNING, "InstanceOSUser": "ubuntu", "SSHPublicKey": ED25519}
    lab.state.faults.add({"name": "throttle_push", "count": 2, "instance_id": RUNNING})
    lab.state.faults.add({"name": "deny_push", "instance_id": STOPPED})
    assert [code(push, **good) for _index in range(2)] == ["ThrottlingException"] * 2
    assert push(**good)["Success"]
    assert code(push, **{**good, "InstanceId": STOPPED}) == "AccessDeniedException"
    lab.state.faults.add({"name": "push_5xx", "count": 1})
    assert code(push, **good) == "ServiceException"


def test_an_instance_with_a_wrong_clock_or_a_slow_command_stays_so_until_the_next_push(lab: RunningLab) -> None:
    push = lab.client("ec2-instance-connect").send_ssh_public_key
    good = {"InstanceId": RUNNING, "InstanceOSUser": "ubuntu", "SSHPublicKey": ED25519}
    lab.state.faults.add({"name": "instance_clock_skew", "seconds": -300, "count": 1})
    lab.state.faults.add({"name": "slow_authorized_keys", "seconds": 2, "count": 1})
    push(**good)
    store = lab.directory / "keys" / RUNNING
    assert [float((store / name).read_text()) for name in (".clock-offset", ".delay")] == [-300, 2]
    push(**good)
    assert [path.name for path in store.iterdir()] == ["ubuntu"]


def test_an_instance_may_have_only_an_ipv6_address_and_an_endpoint_a_fips_name(lab: RunningLab) -> None:
    lab.world["instances"][0].update(private_ip=None, ipv6="fd00:ec2::1")
    lab.world["endpoints"][0]["fips_dns_name"] = "eice-0.fips.example"
    lab.write_world()
    ec2 = lab.client("ec2")
    described = ec2.describe_instances(InstanceIds=[RUNNING])["Reservations"][0]["Instances"][0]
    assert described["Ipv6Address"] == "fd00:ec2::1" and "PrivateIpAddress" not in described
    assert ec2.describe_instance_connect_endpoints()["InstanceConnectEndpoints"][0]["FipsDnsName"] == "eice-0.fips.example"


def test_a_changed_world_is_seen_at_once(lab: RunningLab) -> None:
    ec2 = lab.client("ec2")
    lab.world["instances"][0]["private_ip"] = "10.0.0.99"
    lab.write_world()
    assert ec2.describe_instances(InstanceIds=[RUNNING])["Reservations"][0]["Instances"][0]["PrivateIpAddress"] == "10.0.0.99"
