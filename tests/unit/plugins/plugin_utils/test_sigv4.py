# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signatures: a known answer of the AWS CLI, and botocore's own signers as the oracle."""
from __future__ import annotations

import datetime
import urllib.parse
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import sigv4
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.datetime(2020, 1, 1, 1, 1, 1, tzinfo=datetime.timezone.utc)
TOKENS = st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@pytest.fixture(autouse=True, scope="module")
def frozen_botocore_clock():
    with mock.patch("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: NOW.replace(tzinfo=None)):
        yield


def test_known_answer_of_the_aws_cli() -> None:
    """The signature that the AWS CLI's own test suite expects for openTunnel."""
    query = sigv4.presigned_query(
        sigv4.Credentials("access_key", "secret_key"),
        service="ec2-instance-connect",
        region="us-west-2",
        host="eice-123.ec2-instance-connect-endpoint.us-west-2.amazonaws.com",
        path="/openTunnel",
        parameters={"instanceConnectEndpointId": "eice-123", "remotePort": "22", "privateIpAddress": "10.0.0.0", "maxTunnelDuration": "1"},
        expires=60,
        now=NOW,
    )
    assert dict(urllib.parse.parse_qsl(query)) == {
        "instanceConnectEndpointId": "eice-123",
        "remotePort": "22",
        "privateIpAddress": "10.0.0.0",
        "maxTunnelDuration": "1",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "access_key/20200101/us-west-2/ec2-instance-connect/aws4_request",
        "X-Amz-Date": "20200101T010101Z",
        "X-Amz-Expires": "60",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Signature": "3a56740422a5b9aebd22d860b7a30c729e459a6f71a83bc0de3a2b44b7353f28",
    }


@given(address=st.sampled_from(["10.0.0.1", "2600:1f16::1"]), token=TOKENS)
def test_query_signature_equals_botocores(address: str, token: str | None) -> None:
    parameters = {"instanceConnectEndpointId": "eice-0a", "remotePort": "22", "privateIpAddress": address, "maxTunnelDuration": "3600"}
    request = botocore.awsrequest.AWSRequest("GET", f"https://eice-0a.example.com/openTunnel?{urllib.parse.urlencode(parameters)}")
    signer = botocore.auth.SigV4QueryAuth(botocore.credentials.Credentials("AKID", "secret", token), "ec2-instance-connect", "us-east-2", expires=60)
    signer.add_auth(request)
    query = sigv4.presigned_query(
        sigv4.Credentials("AKID", "secret", token),
        service="ec2-instance-connect",
        region="us-east-2",
        host="eice-0a.example.com",
        path="/openTunnel",
        parameters=parameters,
        expires=60,
        now=NOW,
    )
    expected = urllib.parse.urlsplit(request.prepare().url).query
    assert dict(urllib.parse.parse_qsl(query)) == dict(urllib.parse.parse_qsl(expected))


@given(body=st.binary(max_size=100), token=TOKENS, path=st.sampled_from(["/", "/a/b"]))
def test_header_signature_equals_botocores(body: bytes, token: str | None, path: str) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEC2InstanceConnectService.SendSSHPublicKey"}
    request = botocore.awsrequest.AWSRequest("POST", f"https://127.0.0.1:8443{path}", headers=headers, data=body)
    botocore.auth.SigV4Auth(botocore.credentials.Credentials("AKID", "secret", token), "ec2-instance-connect", "us-east-2").add_auth(request)
    signed = sigv4.signed_headers(
        sigv4.Credentials("AKID", "secret", token),
        service="ec2-instance-connect",
        region="us-east-2",
        host="127.0.0.1:8443",
        path=path,
        headers=headers,
        body=body,
        now=NOW,
    )
    assert signed["Authorization"] == request.headers["Authorization"]


def test_secrets_stay_out_of_the_representation() -> None:
    assert "s3cret" not in repr(sigv4.Credentials("AKID", "s3cret", "s3cret-token"))
