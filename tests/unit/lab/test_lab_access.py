# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what in the lab: policy documents, credentials of assumed roles that expire, and the proxy."""
from __future__ import annotations

import base64
import socket
import time
from typing import Any

import botocore.exceptions
import pytest
from conftest import ED25519, ENDPOINT_DNS, RUNNING, RunningLab
from lab import policy
from tunnel_client import Refused

ROLE = "arn:aws:iam::123456789012:role/workspace-operator"
ENDPOINT_ARN = "arn:aws:ec2:us-east-2:123456789012:instance-connect-endpoint/eice-1"


def document(condition: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A policy of one statement."""
    statement = {"Effect": "Allow", "Action": "ec2-instance-connect:OpenTunnel", "Resource": ENDPOINT_ARN, **changes}
    return {"Version": "2012-10-17", "Statement": [statement | ({"Condition": condition} if condition else {})]}


@pytest.mark.parametrize(
    ("condition", "context", "allowed"),
    [
        (None, {}, True),
        ({"NumericEquals": {"k": "22"}}, {"k": "22"}, True),
        ({"NumericEquals": {"k": "22"}}, {"k": "3389"}, False),
        ({"NumericEquals": {"k": "22"}}, {}, False),
        ({"NumericLessThanEquals": {"k": "3600"}}, {"k": "3600"}, True),
        ({"NumericLessThanEquals": {"k": "600"}}, {"k": "3600"}, False),
        ({"NumericLessThanEquals": {"k": "600"}}, {}, False),
        ({"IpAddress": {"k": "10.20.0.0/16"}}, {"k": "10.20.255.1"}, True),
        ({"IpAddress": {"k": ["10.20.0.0/16", "2600:1f16::/32"]}}, {"k": "2600:1f16::1"}, True),
        ({"IpAddress": {"k": "10.20.0.0/16"}}, {"k": "10.21.0.1"}, False),
        ({"StringEquals": {"k": ["a", "b"]}}, {"k": "b"}, True),
        ({"StringEquals": {"k": "a", "l": "b"}}, {"k": "a", "l": "c"}, False),
        ({"StringLike": {"k": "wor?space-*"}}, {"k": "workspace-1"}, True),
        ({"StringLike": {"k": "[w]*"}}, {"k": "workspace-1"}, False),
    ],
)
def test_conditions(condition: dict[str, Any] | None, context: dict[str, str], allowed: bool) -> None:
    made = document(condition)
    policy.check(made)
    assert policy.allows(made, "ec2-instance-connect:OpenTunnel", ENDPOINT_ARN, context) is allowed


def test_actions_resources_and_denials() -> None:
    assert policy.allows({}, "ec2:DescribeInstances", "*", {})
    assert not policy.allows(document(), "ec2-instance-connect:OpenTunnel", ENDPOINT_ARN.replace("eice-1", "eice-2"), {})
    assert not policy.allows(document(), "ec2-instance-connect:SendSSHPublicKey", ENDPOINT_ARN, {})
    assert policy.allows(document(Action="EC2-instance-connect:*", Resource="*"), "ec2-instance-connect:OpenTunnel", ENDPOINT_ARN, {})
    both = document()
    both["Statement"] += document(Effect="Deny")["Statement"]
    assert not policy.allows(both, "ec2-instance-connect:OpenTunnel", ENDPOINT_ARN, {}), "a denial is stronger"


@pytest.mark.parametrize(
    "bad", [{"Version": "2008-10-17", "Statement": []}, document({"BoolIfExists": {"k": "true"}}), document(NotAction="x"), document(Effect="Perhaps")]
)
def test_what_cannot_be_evaluated_is_refused_when_it_is_set(lab: RunningLab, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lab|policy"):
        lab.state.settings.change({"policy": bad})
    assert lab.state.settings.policy == {}


def test_the_policy_decides_on_every_surface(lab: RunningLab) -> None:
    """A tunnel without a duration is denied by a policy that caps it, as AWS does."""
    duration = {"NumericLessThanEquals": {"ec2-instance-connect:maxTunnelDuration": "600"}}
    lab.state.settings.change({"policy": document(duration, Resource="*")})
    lab.connect(lab.tunnel_url(maxTunnelDuration="600")).__exit__(None, None, None)
    for url in (lab.tunnel_url(maxTunnelDuration="601"), lab.tunnel_url()):
        with pytest.raises(Refused, match="AccessDenied"):
            lab.connect(url)
    with pytest.raises(botocore.exceptions.ClientError, match="UnauthorizedOperation"):
        lab.client("ec2").describe_instances()
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDeniedException"):
        lab.client("ec2-instance-connect").send_ssh_public_key(InstanceId=RUNNING, InstanceOSUser="ubuntu", SSHPublicKey=ED25519)


def test_a_roles_credentials_work_until_they_expire(lab: RunningLab) -> None:
    lab.world["roles"] = [ROLE]
    lab.write_world()
    lab.state.settings.change({"role_lifetime": 3.0})
    assume = lab.client("sts").assume_role
    made = assume(RoleArn=ROLE, RoleSessionName="test")
    keys = made["Credentials"]
    assert made["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/workspace-operator/test"
    given = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"], "aws_session_token": keys["SessionToken"]}
    ec2, access = lab.client("ec2", **given), (keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
    assert ec2.describe_instances()["Reservations"]
    lab.connect(lab.tunnel_url(access=access)).__exit__(None, None, None)
    time.sleep(max(0.0, keys["Expiration"].timestamp() + 0.1 - time.time()))
    with pytest.raises(botocore.exceptions.ClientError, match="RequestExpired"):
        ec2.describe_instances()
    with pytest.raises(Refused, match="ExpiredToken"):
        lab.connect(lab.tunnel_url(access=access))
    for wrong in ({"RoleArn": f"{ROLE}2", "RoleSessionName": "test"}, {"RoleArn": ROLE, "RoleSessionName": "no blanks"}):
        with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied|ValidationError"):
            assume(**wrong)


def ask_proxy(lab: RunningLab, request: str, *headers: str) -> str:
    """The status line of the proxy's answer."""
    host, port = lab.addresses["proxy_url"].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join([f"{request} HTTP/1.1", *headers, "", ""]).encode())
        return connection.recv(4096).decode().split("\r\n")[0]


def test_the_proxy_connects_to_the_lab_and_nowhere_else(lab: RunningLab) -> None:
    assert ask_proxy(lab, f"CONNECT {ENDPOINT_DNS}:443") == "HTTP/1.1 200 Connection established"
    assert ask_proxy(lab, f"CONNECT {lab.addresses['aws_url'].removeprefix('https://')}").startswith("HTTP/1.1 200")
    assert ask_proxy(lab, "CONNECT ec2.us-east-2.amazonaws.com:443").startswith("HTTP/1.1 502")
    assert ask_proxy(lab, "GET http://127.0.0.1/").startswith("HTTP/1.1 405")
    lab.state.settings.change({"proxy_credentials": "agent:secret"})
    assert ask_proxy(lab, f"CONNECT {ENDPOINT_DNS}:443").startswith("HTTP/1.1 407")
    authorization = f"Proxy-Authorization: Basic {base64.b64encode(b'agent:secret').decode()}"
    assert ask_proxy(lab, f"CONNECT {ENDPOINT_DNS}:443", authorization).startswith("HTTP/1.1 200")
