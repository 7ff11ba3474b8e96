# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's verification of AWS signatures: known answers, and botocore's signer as the other side."""
from __future__ import annotations

import calendar
import time

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from lab.signature import Credentials, Request, SignatureRefused, verify_header, verify_query

KNOWN_HOST = "eice-123.ec2-instance-connect-endpoint.us-west-2.amazonaws.com"
KNOWN_TIME = calendar.timegm((2020, 1, 1, 1, 1, 1))
KNOWN = {"access_key": Credentials("access_key", "secret_key")}
KNOWN_TARGET = (
    "/openTunnel?instanceConnectEndpointId=eice-123&remotePort=22&privateIpAddress=10.0.0.0&maxTunnelDuration=1"
    "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=access_key%2F20200101%2Fus-west-2%2Fec2-instance-connect%2Faws4_request"
    "&X-Amz-Date=20200101T010101Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=3a56740422a5b9aebd22d860b7a30c729e459a6f71a83bc0de3a2b44b7353f28")


def refused(target: str, now: float, host: str = KNOWN_HOST, region: str = "us-west-2") -> str:
    with pytest.raises(SignatureRefused) as caught:
        verify_query(Request("GET", target, {"host": host}), KNOWN, region, now, 60)
    return caught.value.reason


def test_the_known_answer_of_the_tunnel_url_is_accepted_in_any_parameter_order() -> None:
    path, query = KNOWN_TARGET.split("?")
    for target in (KNOWN_TARGET, path + "?" + "&".join(reversed(query.split("&")))):
        claim = verify_query(Request("GET", target, {"host": KNOWN_HOST}), KNOWN, "us-west-2", KNOWN_TIME + 60, 60)
        assert claim.service == "ec2-instance-connect"


def test_a_tunnel_url_is_refused_after_60_seconds_and_when_it_comes_from_the_future() -> None:
    assert refused(KNOWN_TARGET, KNOWN_TIME + 61) == "expired"
    assert refused(KNOWN_TARGET, KNOWN_TIME - 301) == "early"


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("remotePort=22", "remotePort=3389", "mismatch"),
    ("10.0.0.0", "10.0.0.1", "mismatch"),
    ("X-Amz-Expires=60", "X-Amz-Expires=59", "mismatch"),
    ("X-Amz-Expires=60", "X-Amz-Expires=3600", "malformed"),
    ("53f28", "53f29", "mismatch"),
    ("access_key%2F", "other_key%2F", "unknown_key"),
    ("%2Fus-west-2", "%2Fus-east-2", "scope"),
    ("X-Amz-Date=20200101", "X-Amz-Date=20200102", "malformed"),
    ("&X-Amz-Signature=", "&X-Other=", "missing"),
    ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=date", "mismatch"),
])
def test_every_change_of_a_signed_url_is_refused(old: str, new: str, reason: str) -> None:
    assert refused(KNOWN_TARGET.replace(old, new), KNOWN_TIME) == reason


def test_another_host_is_refused() -> None:
    assert refused(KNOWN_TARGET, KNOWN_TIME, host=KNOWN_HOST + ":443") == "mismatch"


def test_botocores_query_signature_with_a_session_token_is_accepted_and_the_token_is_checked() -> None:
    request = AWSRequest("GET", "https://host.example/openTunnel", params={"privateIpAddress": "fd00::1", "odd name": "a b/ü~"})
    SigV4QueryAuth(BotocoreCredentials("k", "s", "to/ken+=="), "ec2-instance-connect", "r", expires=60).add_auth(request)
    signed = Request("GET", request.prepare().url.removeprefix("https://host.example"), {"host": "host.example"})
    verify_query(signed, {"k": Credentials("k", "s", "to/ken+==")}, "r", time.time(), 60)
    for token in ("other", None):
        with pytest.raises(SignatureRefused) as caught:
            verify_query(signed, {"k": Credentials("k", "s", token)}, "r", time.time(), 60)
        assert caught.value.reason == "token"


def test_botocores_header_signature_is_accepted_within_five_minutes_for_its_body_only() -> None:
    request = AWSRequest("POST", "https://host.example/", data=b"Action=X", headers={"X-Odd": "  two   spaces "})
    SigV4Auth(BotocoreCredentials("k", "s", "token"), "ec2", "r").add_auth(request)
    headers = {"host": "host.example", **{name.lower(): value for name, value in request.headers.items()}}
    known = {"k": Credentials("k", "s", "token")}
    verify_header(Request("POST", "/", headers, b"Action=X"), known, "r", time.time())
    for body, now, reason in ((b"Action=Y", time.time(), "mismatch"), (b"Action=X", time.time() + 320, "expired"), (b"Action=X", time.time() - 320, "early")):
        with pytest.raises(SignatureRefused) as caught:
            verify_header(Request("POST", "/", headers, body), known, "r", now)
        assert caught.value.reason == reason
